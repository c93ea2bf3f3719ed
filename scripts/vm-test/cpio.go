package main

import (
	"bufio"
	"fmt"
	"io"
	"path"
)

// A cpio writes an archive in the format "newc", which the kernel unpacks as its first root.
type cpio struct {
	w    *bufio.Writer
	at   int64
	next int // inode number
	dirs map[string]bool
	err  error
}

// Kinds of files, as in stat(2).
const (
	modeDir     = 0o040755
	modeFile    = 0o100755
	modeSymlink = 0o120777
	modeDevice  = 0o020600
)

func newCPIO(w io.Writer) *cpio {
	return &cpio{w: bufio.NewWriterSize(w, 1<<20), dirs: map[string]bool{".": true, "/": true}}
}

// dir adds a folder and those above it, once.
func (c *cpio) dir(name string) {
	name = path.Clean(name)
	if c.dirs[name] {
		return
	}
	c.dirs[name] = true
	c.dir(path.Dir(name))
	c.entry(name, modeDir, 0, 0, nil)
}

func (c *cpio) file(name string, b []byte) {
	c.dir(path.Dir(name))
	c.entry(name, modeFile, 0, 0, b)
}

func (c *cpio) symlink(name, to string) {
	c.dir(path.Dir(name))
	c.entry(name, modeSymlink, 0, 0, []byte(to))
}

func (c *cpio) device(name string, major, minor int) {
	c.dir(path.Dir(name))
	c.entry(name, modeDevice, major, minor, nil)
}

// close ends the archive.
func (c *cpio) close() error {
	c.entry("TRAILER!!!", 0, 0, 0, nil)
	if c.err != nil {
		return c.err
	}
	return c.w.Flush()
}

// entry writes a header of 13 numbers of eight hexadecimal digits, the name and the content, each padded to four octets.
func (c *cpio) entry(name string, mode, major, minor int, b []byte) {
	for len(name) > 1 && name[0] == '/' {
		name = name[1:]
	}
	c.next++
	c.write([]byte("070701"))
	for _, v := range [13]int{c.next, mode, 0, 0, 1, 0, len(b), 0, 0, major, minor, len(name) + 1, 0} {
		c.write(fmt.Appendf(nil, "%08X", v))
	}
	c.write(append([]byte(name), 0))
	c.pad()
	c.write(b)
	c.pad()
}

func (c *cpio) write(b []byte) {
	if c.err != nil {
		return
	}
	n, err := c.w.Write(b)
	c.at += int64(n)
	c.err = err
}

func (c *cpio) pad() { c.write(make([]byte, -c.at&3)) }
