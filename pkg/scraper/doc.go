// Package scraper reads what collectors of LLAMA serve at /influxdata: those of
// Dropbox's Go and Python versions, and this agent's own API. Each is asked by itself,
// at a time of its own within the interval, so that one that hangs holds up no other.
//
// Whatever an answer is, its size, the number of its points, their tags and fields
// and their times are bounded; what is beyond is refused point by point and counted.
package scraper
