//go:build linux

package loader

// reasonNames and actionNames are in the order of bpf/shared.h: a test compares.
// Reasons that the socket reflector has too have its names.
var reasonNames = [...]string{
	bpfLlamaReasonREASON_REPLIED:          "replied",
	bpfLlamaReasonREASON_STATELESS:        "stateless",
	bpfLlamaReasonREASON_LEGACY:           "legacy",
	bpfLlamaReasonREASON_DISARMED:         "disarmed",
	bpfLlamaReasonREASON_LEASE_EXPIRED:    "lease_expired",
	bpfLlamaReasonREASON_TRUNCATED:        "truncated",
	bpfLlamaReasonREASON_NOT_IP:           "not_ip",
	bpfLlamaReasonREASON_VLAN_DEPTH:       "vlan_depth",
	bpfLlamaReasonREASON_IP_HEADER:        "ip_header",
	bpfLlamaReasonREASON_IP_CHECKSUM:      "ip_checksum",
	bpfLlamaReasonREASON_FRAGMENT:         "fragment",
	bpfLlamaReasonREASON_IPV6EXTENSION:    "ipv6_extension",
	bpfLlamaReasonREASON_NOT_UDP:          "not_udp",
	bpfLlamaReasonREASON_OTHER_PORT:       "other_port",
	bpfLlamaReasonREASON_UDP_LENGTH:       "udp_length",
	bpfLlamaReasonREASON_UDP_NO_CHECKSUM:  "udp_no_checksum",
	bpfLlamaReasonREASON_UDP_CHECKSUM:     "udp_checksum",
	bpfLlamaReasonREASON_OTHER_INTERFACE:  "other_interface",
	bpfLlamaReasonREASON_OTHER_MAC:        "other_mac",
	bpfLlamaReasonREASON_SOURCE_MAC:       "source_mac",
	bpfLlamaReasonREASON_OTHER_ADDRESS:    "other_address",
	bpfLlamaReasonREASON_NOT_UNICAST:      "not_unicast",
	bpfLlamaReasonREASON_SOURCE_OURS:      "source_ours",
	bpfLlamaReasonREASON_SHORT:            "short",
	bpfLlamaReasonREASON_KEYED:            "keyed",
	bpfLlamaReasonREASON_SESSION_UP:       "session_up",
	bpfLlamaReasonREASON_SUPER_PACKET:     "super_packet",
	bpfLlamaReasonREASON_IP_OPTIONS:       "ip_options",
	bpfLlamaReasonREASON_TWAMP_LIGHT:      "twamp_light",
	bpfLlamaReasonREASON_TLV_UNKNOWN:      "tlv_unknown",
	bpfLlamaReasonREASON_TLV_MALFORMED:    "tlv_malformed",
	bpfLlamaReasonREASON_TLV_MANY:         "tlv_many",
	bpfLlamaReasonREASON_TLV_NOT_LINEAR:   "tlv_not_linear",
	bpfLlamaReasonREASON_UDP_LONG:         "udp_long",
	bpfLlamaReasonREASON_NO_LIMITER:       "no_limiter",
	bpfLlamaReasonREASON_LEGACY_FORM:      "legacy_form",
	bpfLlamaReasonREASON_NO_FLOW:          "no_flow",
	bpfLlamaReasonREASON_NOT_IN_FLIGHT:    "not_in_flight",
	bpfLlamaReasonREASON_PORT_LOW:         "port_low",
	bpfLlamaReasonREASON_PORT_REFLECTOR:   "port_reflector",
	bpfLlamaReasonREASON_NOT_ALLOWED:      "not_allowed",
	bpfLlamaReasonREASON_LOOKS_LIKE_REPLY: "looks_like_reply",
	bpfLlamaReasonREASON_RATE_PEER:        "rate_peer",
	bpfLlamaReasonREASON_RATE_STRANGER:    "rate_stranger",
	bpfLlamaReasonREASON_CAPTURED:         "captured",
	bpfLlamaReasonREASON_RING_FULL:        "ring_full",
	bpfLlamaReasonREASON_WRITE_FAILED:     "write_failed",
}

var actionNames = [...]string{
	bpfLlamaActionACTION_PASS:  "pass",
	bpfLlamaActionACTION_DROP:  "drop",
	bpfLlamaActionACTION_REPLY: "reply",
	bpfLlamaActionACTION_TAKE:  "take",
	bpfLlamaActionACTION_ABORT: "abort",
}

// Reasons are the names of all reasons for which a packet can end.
func Reasons() []string { return reasonNames[:] }
