package config

import "time"

// Spool is where sinks that push keep what they have not delivered.
type Spool struct {
	Path     string // a folder, with one a sink in it; "": in memory
	Sync     bool   // a batch is accepted once it is on the disk itself
	MaxBytes int64  // octets on disk, a sink
	MaxAge   time.Duration
}

func (d *decoder) spoolFields(s *Spool) []field {
	return []field{
		scalar("path", &s.Path, func(text string) (string, error) {
			if text == "" {
				return "", nil
			}
			return d.path(text)
		}),
		scalar("fsync", &s.Sync, parseFsync),
		scalar("max_size", &s.MaxBytes, size[int64](1<<20, 1<<40)),
		scalar("max_age", &s.MaxAge, duration(time.Minute, 366*day)),
	}
}

func parseFsync(s string) (bool, error) {
	_, err := oneOfWords("always", "never")(s)
	return s == "always", err
}
