// Package probe holds the leaf types that the collector fills and the sinks
// print: what is probed, how each probe ended, and how long it took. It imports
// nothing of the project and knows no socket, no file and no clock.
package probe
