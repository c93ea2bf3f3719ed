package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMirrorsAreThoseOfTheMachine(t *testing.T) {
	for name, c := range map[string]struct {
		targets string
		want    mirrors
	}{
		"known by their label": {
			"https://example.net/tools/ Google LLC tools\nhttp://a.example/mirror/ Debian Debian\nhttp://b.example/sec/ Debian Debian-Security\n" +
				"http://c.example/debian/ Debian Debian\nhttp://bpo.example/x/ Debian Backports\n",
			mirrors{"http://a.example/mirror/", "http://b.example/sec/"},
		},
		"never updated": {
			"http://a.example/ubuntu  \nhttp://a.example/debian  \nhttp://a.example/debian-security/  \n",
			mirrors{"http://a.example/debian", "http://a.example/debian-security/"},
		},
	} {
		got, err := findMirrors(c.targets)
		require.NoError(t, err, name)
		require.Equal(t, c.want, got, name)
	}
	_, err := findMirrors("https://example.net/tools/ Google tools\n")
	require.ErrorContains(t, err, "VM_MIRROR")
}

func TestSourcesWithoutASecurityArchive(t *testing.T) {
	both := mirrors{"http://a.example/debian", "http://a.example/debian-security"}.sourcesList()
	require.Equal(t, len(suites), strings.Count(both, "\n"))
	require.Contains(t, both, "] http://a.example/debian-security bullseye-security main\n")
	require.Contains(t, both, "signed-by="+keyring)
	require.NotContains(t, mirrors{main: "http://a.example/debian"}.sourcesList(), "security")
}
