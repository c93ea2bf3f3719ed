package stamp

import (
	"math"
	"math/bits"
)

// ErrorEstimate is the 16-bit field S(1) Z(1) Scale(6) Multiplier(8) of
// RFC 4656, 4.1.2 and RFC 8186, 2.3: the clock's error is at most
// Multiplier * 2^Scale * 2^-32 seconds.
type ErrorEstimate uint16

const (
	bitS = 1 << 15
	bitZ = 1 << 14
	// maxErrNs keeps the conversion within 64 bits: 73 years.
	maxErrNs = 1<<61 - 1
)

// NewErrorEstimate encodes an error of errNs nanoseconds, rounded up, never
// down. A negative errNs is an unknown error and becomes the largest value
// there is. The Multiplier is never 0.
func NewErrorEstimate(synchronized bool, f Format, errNs int64) ErrorEstimate {
	e := ErrorEstimate(f&1) << 14
	if synchronized {
		e |= bitS
	}
	if errNs < 0 {
		return e | 63<<8 | 255
	}
	units := max(1, mulDivCeil(min(uint64(errNs), maxErrNs)))
	scale := ErrorEstimate(0)
	for units > 255 {
		units = (units + 1) >> 1 // the ceiling of a ceiling is a ceiling
		scale++
	}
	return e | scale<<8 | ErrorEstimate(units)
}

// Synchronized is the S bit: the clock is synchronised to UTC by an external
// source.
func (e ErrorEstimate) Synchronized() bool { return e&bitS != 0 }

// Format is the Z bit: the format of the timestamps beside this field.
func (e ErrorEstimate) Format() Format {
	if e&bitZ != 0 {
		return PTPv2
	}
	return NTP
}

// Scale is the binary exponent, 0 to 63.
func (e ErrorEstimate) Scale() uint8 { return uint8(e>>8) & 63 }

// Multiplier is the mantissa. RFC 4656 forbids 0.
func (e ErrorEstimate) Multiplier() uint8 { return uint8(e) }

// Valid tells whether the Multiplier is what RFC 4656, 4.1.2 demands: not 0.
func (e ErrorEstimate) Valid() bool { return e.Multiplier() != 0 }

// Nanos is the error in nanoseconds, rounded up; what does not fit in an
// int64 is math.MaxInt64.
func (e ErrorEstimate) Nanos() int64 {
	v := uint64(e.Multiplier()) * second
	scale := int(e.Scale())
	if scale < 32 {
		shift := 32 - scale
		return int64((v + 1<<shift - 1) >> shift)
	}
	if bits.Len64(v)+scale-32 > 63 {
		return math.MaxInt64
	}
	return int64(v << (scale - 32))
}

// orUnknown keeps a Multiplier of 0 off the wire.
func (e ErrorEstimate) orUnknown() ErrorEstimate {
	if e.Valid() {
		return e
	}
	return NewErrorEstimate(e.Synchronized(), e.Format(), -1)
}
