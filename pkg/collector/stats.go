package collector

import "sync/atomic"

// A counter of the collector's own work, beside what the windows say.
type counter uint8

const (
	countSent           counter = iota // datagrams handed to the kernel
	countReplies                       // replies that matched a probe, duplicates included
	countTxStamps                      // transmit stamps that matched a probe
	countReplyShort                    // shorter than a base packet
	countReplyUnmatched                // from no session of ours: foreign or forged
	countReplyStale                    // of a session of ours, for no probe that is remembered
	countReplyMismatch                 // did not return the T1 that was sent
	countReplyAuth                     // failed authentication
	countReplyTLV                      // with an M or I flag, or malformed TLVs
	countBadStamps                     // replies whose stamps make no sense: counted, without an RTT
	countICMP                          // ICMP errors that quote a probe
	countICMPUnmatched                 // ICMP errors that quote none that is remembered
	countClockSteps                    // steps of the wall clock
	countSendErrors                    // sends that the kernel refused
	countSocketDrops                   // datagrams the kernel dropped at our sockets
	countFlowLinesCut                  // flows whose detail was left out for Options.MaxFlows
	countOneWayUnknown                 // RTTs without one-way delays: a clock of the two is not said to be synchronised
	numCounters
)

var counterNames = [numCounters]string{
	"sent", "replies", "tx_stamps", "reply_short", "reply_unmatched", "reply_stale", "reply_t1_mismatch",
	"reply_auth", "reply_tlv", "reply_bad_stamps", "icmp", "icmp_unmatched", "clock_steps", "send_errors", "socket_drops",
	"flow_lines_cut", "one_way_unknown",
}

type stats [numCounters]atomic.Uint64

func (s *stats) add(c counter) { s[c].Add(1) }

// Stats returns the collector's own counters by name, and the gauge slowdown: of so
// many probes one is sent. Safe at any time.
func (c *Collector) Stats() map[string]uint64 {
	out := make(map[string]uint64, int(numCounters)+int(numReasons)+1)
	for i := range c.loop.reasons {
		out["not_sent_"+reasonNames[i]] = c.loop.reasons[i].Load()
	}
	for i := range c.loop.stats {
		out[counterNames[i]] = c.loop.stats[i].Load()
	}
	out["slowdown"] = c.loop.slow.factor.Load()
	return out
}
