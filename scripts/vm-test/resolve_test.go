package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVersionsAreOrderedAsDebianDoes(t *testing.T) {
	ascending := []string{
		"5.10.223-1", "5.10.262-1", "6.1.176-1", "6.1.192-1~deb11u1", "6.1.192-1", "6.1.192-2",
		"6.12.95-1~bpo12+1", "6.12.117-1~bpo12+1", "6.12.117-1", "6.12.117-1+b1", "7.2.13-1", "7.3.4-1~bpo13+1", "7.10.1-1", "1:1.0-1",
	}
	for i, a := range ascending {
		for j, b := range ascending {
			require.Equal(t, sign(i-j), compareVersions(a, b), "%s and %s", a, b)
		}
	}
	require.Zero(t, compareVersions("1.01-1", "1.1-1"))
}

func show(name, version, depends string) string {
	return "Package: " + name + "\nSource: linux\nVersion: " + version + "\nDepends: kmod, " + depends +
		"\nDescription: Linux\n more: than a line\n\n"
}

const lists = "linux-base"

func TestNewestOfALineIsFound(t *testing.T) {
	var text string
	for _, s := range [][3]string{
		{"linux-image-5.10.0-30-cloud-amd64", "5.10.223-1", lists},
		{"linux-image-5.10.0-46-cloud-amd64", "5.10.262-1", lists},
		{"linux-image-6.1.0-56-cloud-amd64", "6.1.192-2", lists},
		{"linux-image-6.1.0-0.deb11.52-cloud-amd64", "6.1.192-1~deb11u1", lists},
		{"linux-image-6.12.117+deb12-cloud-amd64", "6.12.117-1~bpo12+1", lists},
		{"linux-image-6.12.117+deb13-cloud-amd64", "6.12.117-1", lists},
		{"linux-image-6.12.117+deb13-amd64", "6.12.999-1", lists},
		{"linux-image-6.12.118+deb13-cloud-amd64-unsigned", "6.12.118-1", lists},
		{"linux-image-6.18.15+deb13-cloud-amd64", "6.18.15-1~bpo13+1", lists},
		// Its modules are gone from the lists.
		{"linux-image-6.19.14+deb13-cloud-amd64", "6.19.14-1~bpo13+1", "linux-modules-6.19.14+deb13-cloud-amd64 (= 6.19.14-1~bpo13+1)"},
		{"linux-binary-6.19.14+deb13-cloud-amd64", "6.19.14-1~bpo13+1", lists},
		{"linux-image-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1", "linux-modules-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1)"},
		{"linux-binary-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1", lists},
		{"linux-base-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1", lists},
		{"linux-base-6.18.15+deb13-cloud-amd64", "6.18.14-1", lists},
		{"linux-modules-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1", lists},
	} {
		text += show(s[0], s[1], s[2])
	}
	found := kernels(parseStanzas([]byte(text)))
	for line, release := range map[string]string{
		"5.10": "5.10.0-46", "6.1": "6.1.0-56", "6.12": "6.12.117+deb13", "6": "6.18.15+deb13", "7": "7.3.4+deb13", "6.1.0-0.deb11.52-cloud-amd64": "6.1.0-0.deb11.52",
	} {
		k, err := newestOf(found, line)
		require.NoError(t, err)
		require.Equal(t, release+"-cloud-amd64", k.release)
		require.Equal(t, line, k.line)
	}
	k, err := newestOf(found, "7")
	require.NoError(t, err)
	require.Equal(t, []string{"linux-base-7.3.4+deb13-cloud-amd64", "linux-binary-7.3.4+deb13-cloud-amd64", "linux-modules-7.3.4+deb13-cloud-amd64"}, k.packages)
	k, err = newestOf(found, "6.18")
	require.NoError(t, err)
	require.Equal(t, []string{"linux-image-6.18.15+deb13-cloud-amd64"}, k.packages, "a base of another version is not its own")
	_, err = newestOf(found, "6.19")
	require.ErrorContains(t, err, "6.19")
	_, err = newestOf(found, "8")
	require.Error(t, err)
}
