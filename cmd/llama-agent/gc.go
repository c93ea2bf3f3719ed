package main

import (
	"os"
	"runtime/debug"
)

// heapGrowth is by how much the heap of a running agent grows before it is collected, in
// percent. Probing allocates nothing and a window little, so that collecting is rare, while
// at Go's own 100 the flows of an agent would take twice their room.
const heapGrowth = 25

// limitHeap is for `run`: what lives long and mostly waits. GOGC has the last word.
func limitHeap() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
	}
}
