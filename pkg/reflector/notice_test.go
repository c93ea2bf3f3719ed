package reflector

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNoticesOnceAMinuteAndReason(t *testing.T) {
	var out bytes.Buffer
	log, n := slog.New(slog.NewTextHandler(&out, nil)), notices{}
	at := netip.MustParseAddrPort("10.0.0.1:862")
	for now := int64(0); now < 2*int64(noticePeriod); now += int64(noticePeriod) / 10 {
		n.log(log, now, SendForbidden, errors.New("eperm"), at, at)
		n.log(log, now, SendNoAddress, errors.New("eaddr"), at, at)
		n.log(log, now, SendUnreachable, errors.New("nobody can act on it here"), at, at)
	}
	require.Equal(t, 2, strings.Count(out.String(), "reason=send_forbidden error=eperm from=10.0.0.1:862"))
	require.Equal(t, 2, strings.Count(out.String(), "reason=send_no_address"))
	require.Equal(t, 4, strings.Count(out.String(), "\n"))
}
