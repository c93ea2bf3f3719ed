//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// screen is a terminal, where a picture is redrawn in place, or anything else,
// which gets only the pictures of a few moments.
type screen struct {
	w      io.Writer
	live   bool
	colour bool
	drawn  int // lines of the picture that the next one replaces
}

// A terminal smaller than that cannot hold the picture, and is written to like a file.
const minColumns, minRows = 80, 24

func newScreen(f *os.File) *screen {
	s := &screen{w: f}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || os.Getenv("TERM") == "dumb" {
		return s
	}
	// 0 columns: a terminal that does not know its size, as some serial ones.
	s.live = (size.Col == 0 || size.Col >= minColumns) && (size.Row == 0 || size.Row >= minRows)
	s.colour = s.live && os.Getenv("NO_COLOR") == ""
	return s
}

// draw shows the picture in place of the last one; off a terminal it does so
// only if this is a moment to keep. Errors: a reader that went away is told by SIGPIPE.
func (s *screen) draw(picture []row, moment bool) {
	if !s.live && !moment {
		return
	}
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r\x1b[J", s.drawn)
	}
	for _, r := range picture {
		if s.colour && r.lossy {
			b.WriteString("\x1b[31m" + r.text + "\x1b[0m\n")
			continue
		}
		b.WriteString(r.text + "\n")
	}
	s.drawn = 0
	if s.live {
		s.drawn = len(picture)
	} else {
		b.WriteString("\n")
	}
	_, _ = io.WriteString(s.w, b.String())
}

// say writes a line that stays, below the picture.
func (s *screen) say(format string, args ...any) {
	s.drawn = 0
	fmt.Fprintf(s.w, format+"\n", args...)
}
