package sink

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
)

// packer compresses batches. It is used by one goroutine at a time.
type packer struct{ w *gzip.Writer }

// pack returns the parts, one after the other, as one gzip member.
func (p *packer) pack(parts []Batch) ([]byte, error) {
	var buf bytes.Buffer
	if p.w == nil {
		w, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
		if err != nil {
			return nil, err
		}
		p.w = w
	} else {
		p.w.Reset(&buf)
	}
	for _, b := range parts {
		if _, err := p.w.Write(b.Data); err != nil {
			return nil, fmt.Errorf("compress batch: %w", err)
		}
	}
	if err := p.w.Close(); err != nil {
		return nil, fmt.Errorf("compress batch: %w", err)
	}
	return bytes.Clone(buf.Bytes()), nil // without the buffer's spare room
}

// unpacker reads back what a packer wrote. It is used by one goroutine at a time.
type unpacker struct {
	r   gzip.Reader
	buf bytes.Buffer // the lines, until the next call
}

// maxUnpacked bounds what a file of the spool may become.
const maxUnpacked = 128 << 20

var errLength = errors.New("other lines than its name says")

// unpack returns the lines in body. An error says that body is not whole: gzip's
// checksum or length, or the number of lines, is another.
func (u *unpacker) unpack(body []byte, lines int) (Batch, error) {
	in := bytes.NewReader(body)
	if err := u.r.Reset(in); err != nil {
		return Batch{}, err
	}
	u.r.Multistream(false)
	if u.buf.Cap() > 8<<20 { // one batch of that size must not stay for ever
		u.buf = bytes.Buffer{}
	}
	u.buf.Reset()
	if _, err := io.Copy(&u.buf, io.LimitReader(&u.r, maxUnpacked)); err != nil {
		return Batch{}, err
	}
	text := u.buf.Bytes()
	if in.Len() > 0 || bytes.Count(text, []byte{'\n'}) != lines || !bytes.HasSuffix(text, []byte{'\n'}) {
		return Batch{}, errLength
	}
	return Batch{Data: text, Gzip: body, Lines: lines}, nil
}
