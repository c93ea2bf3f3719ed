//go:build linux

package loader

import (
	"log/slog"
	"sync"
)

// notices tell of what fails, once for as long as it fails in the same way.
type notices struct {
	log *slog.Logger

	mu   sync.Mutex // protects told
	told map[string]string
}

func (n *notices) tell(doing string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if n.isNew(doing, text) {
		n.log.Error("kernel datapath", "doing", doing, "error", err)
	}
}

// isNew says whether a text is to be told: it is not empty, and not what was told
// of the subject before.
func (n *notices) isNew(subject, text string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.told[subject]
	if text == "" {
		delete(n.told, subject)
		return false
	}
	if n.told == nil {
		n.told = make(map[string]string)
	}
	n.told[subject] = text
	return text != before
}
