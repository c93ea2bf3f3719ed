//go:build linux

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

const (
	lossyLine = `llama_path,class=ef,clock=socket,dst=h3,family=4,src=h1 sent=320i,received=308i,late=1i,lost=7i,` +
		`lost_forward=4i,lost_reverse=2i,lost_unsplit=1i,local_drop=4i,not_sent=5i,host_drops=6i,loss_ratio=0.02,` +
		`rtt_p50_us=11.072,rtt_p99_us=49.92 1795454972000000000`
	silentLine = `llama_path,class=be,clock=socket,dst=h3,family=4,src=h1 sent=0i,lost=0i,not_sent=320i 1795454972000000000`
	agentLine  = `llama_agent,src=h1 encoder_lines=4i 1795454972000000000`
)

func TestDecode(t *testing.T) {
	l, ok, err := decode([]byte(lossyLine))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, int64(1795454972e9), l.end.UnixNano())
	l.end = time.Time{}
	require.Equal(t, line{
		path: path{"h1", "h3", "ef"}, p50: 11.072, p99: 49.92,
		counts: counts{sent: 320, late: 1, lost: 7, forward: 4, reverse: 2, unsplit: 1, localDrop: 4, notSent: 5, hostDrops: 6},
	}, l)

	_, ok, err = decode([]byte(agentLine))
	require.NoError(t, err)
	require.False(t, ok, "of another measurement")
	for _, bad := range []string{"a table\tfor people", "llama_path,src=h1 sent=3", "llama_path,src=h1 sent=x 1", "llama_path,src=h1 lost=1i"} {
		_, ok, err = decode([]byte(bad))
		require.Error(t, err, bad)
		require.False(t, ok, bad)
	}
}

func TestTally(t *testing.T) {
	y := newTally()
	out := splitter{take: y.take}
	text := lossyLine + "\n" + agentLine + "\n" + silentLine + "\n" + strings.Replace(lossyLine, "4972000000000", "4973000000000", 1) + "\n"
	for i := 0; i < len(text); i += 7 { // pipes cut where they like
		_, err := out.Write([]byte(text[i:min(i+7, len(text))]))
		require.NoError(t, err)
	}
	s, err := y.now()
	require.NoError(t, err)
	be, ef := path{"h1", "h3", "be"}, path{"h1", "h3", "ef"}
	require.Equal(t, counts{sent: 640, late: 2, lost: 14, forward: 8, reverse: 4, unsplit: 2, localDrop: 8, notSent: 10, hostDrops: 12}, s.total[ef])
	require.Equal(t, int64(330), s.sum().notSent)
	require.Equal(t, lossyLine, s.worst, "the first of the worst")

	at := time.Unix(1795454972, 0)
	require.True(t, s.complete([]path{be, ef}, at))
	require.False(t, s.complete([]path{be, ef}, at.Add(1)), "be ends there")
	require.True(t, s.complete([]path{ef}, at.Add(time.Second)))
	require.False(t, s.complete([]path{{"h2", "h3", "be"}}, at), "nothing told")

	require.Equal(t, []string{
		"  h1→h3  be         0       –        –        –             0        0        0",
		"  h1→h3  ef       320  2.22 %     11.1     49.9            14        8        4",
		"  h2→h3  be     …",
	}, texts(tableOf([]path{be, ef, {"h2", "h3", "be"}}, &s)[2:]))

	y.begin()
	s, err = y.now()
	require.NoError(t, err)
	require.Empty(t, s.total)
	require.Len(t, s.last, 2)
	_, _ = out.Write([]byte("not a line\n"))
	_, err = y.now()
	require.ErrorContains(t, err, `read "not a line"`)
}

// The picture must fit a terminal, or redrawing it in place would not work.
func TestPictureFits(t *testing.T) {
	s := state{total: towardsH3(), last: map[path]line{}}
	for p, c := range s.total {
		s.last[p] = line{path: p, counts: c, p50: 12345.6, p99: 12345.6}
	}
	l := lossesOf(testHosts, &s)
	picture := append([]row{{}, heading(time.Hour, "x")}, tableOf(mesh(testHosts), &s)...)
	picture = append(picture, faultRows("h3", 123456, &l)...)
	require.Len(t, picture, 20)
	lossy := 0
	for _, r := range picture {
		require.Less(t, utf8.RuneCountInString(r.text), minColumns, r.text)
		if r.lossy {
			lossy++
		}
	}
	require.Equal(t, 8, lossy)
}

func TestScreen(t *testing.T) {
	var b bytes.Buffer
	live := &screen{w: &b, live: true, colour: true}
	live.draw([]row{{text: "a"}, {text: "b", lossy: true}}, false)
	live.draw([]row{{text: "c"}}, true)
	live.say("stays")
	live.draw([]row{{text: "d"}}, false)
	require.Equal(t, "a\n\x1b[31mb\x1b[0m\n"+"\x1b[2A\r\x1b[J"+"c\n"+"stays\n"+"d\n", b.String())

	b.Reset()
	file := &screen{w: &b}
	file.draw([]row{{text: "a"}}, false)
	file.draw([]row{{text: "b", lossy: true}}, true)
	file.draw([]row{{text: "c"}}, true)
	require.Equal(t, "b\n\nc\n\n", b.String(), "only moments, and no escapes")
}

func texts(rows []row) (out []string) {
	for _, r := range rows {
		out = append(out, r.text)
	}
	return out
}
