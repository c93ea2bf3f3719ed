package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPackagesHaveArgumentsAndSkipsWithReasons(t *testing.T) {
	all, err := parsePackages("# a comment\na/b -short -run ^Test[AB]\n  skip ^TestC$ slow there   # more\n\tskip ^TestD$/x other reasons\n  quick ^TestE ^TestF\n\nc\n")
	require.NoError(t, err)
	require.Equal(t, []tested{
		{"a/b", []string{"-test.short", "-test.run", "^Test[AB]"}, []string{"^TestC$", "^TestD$/x"}, []string{"^TestE", "^TestF"}},
		{"c", nil, nil, nil},
	}, all)
	quick := quickOnes(all)
	require.Len(t, quick, 1)
	require.Equal(t, append(all[0].args, "-test.run=^TestE|^TestF"), quick[0].args)
	r := all[0].run(binaryFlags([]string{"-run=Z", "-test.count", "2"}))
	require.Equal(t, "-test.skip=^TestC$|^TestD$/x", r.Args[len(r.Args)-4])
	require.Equal(t, []string{"-test.run=Z", "-test.count", "2"}, r.Args[len(r.Args)-3:])
	for _, wrong := range []string{"  skip TestA why\n", "a\n  skip TestA\n", "a\n  quick\n", "a\n  ship TestA why\n"} {
		_, err := parsePackages(wrong)
		require.Error(t, err, "%q", wrong)
	}
}

func TestTheListOfPackagesIsRead(t *testing.T) {
	all, err := parsePackages(packagesText)
	require.NoError(t, err)
	require.NotEmpty(t, all)
	require.Equal(t, all, choose(all, []string{"./..."}))
	require.Equal(t, all, choose(all, nil))
	require.Equal(t, []tested{all[1], {path: "pkg/other"}}, choose(all, []string{"./" + all[1].path, "pkg/other"}))
}

func TestLibrariesOfAProgram(t *testing.T) {
	require.Equal(t, []string{"/lib/x86_64-linux-gnu/libbpf.so.1", "/lib64/ld-linux-x86-64.so.2"}, parseLdd(
		"\tlinux-vdso.so.1 (0x00007ffd)\n\tlibbpf.so.1 => /lib/x86_64-linux-gnu/libbpf.so.1 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n"))
	require.Empty(t, parseLdd("\tnot a dynamic executable\n"))
}
