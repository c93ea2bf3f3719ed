//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/influxdata/line-protocol/v2/lineprotocol"
	"github.com/stretchr/testify/require"
)

// points is the points of lines, each in one form whoever wrote it: tags and fields by name, values with their kind.
// They are sorted, so that two lists are equal where the points are.
func points(t testing.TB, lines string) (all []string) {
	t.Helper()
	for d := lineprotocol.NewDecoderWithBytes([]byte(lines)); d.Next(); {
		m, err := d.Measurement()
		require.NoError(t, err)
		var tags, fields []string
		for {
			k, v, err := d.NextTag()
			require.NoError(t, err)
			if k == nil {
				break
			}
			tags = append(tags, fmt.Sprintf("%q=%q", k, v))
		}
		for {
			k, v, err := d.NextField()
			require.NoError(t, err)
			if k == nil {
				break
			}
			value := v.String() // an integer ends in i
			if v.Kind() == lineprotocol.Float {
				value = strconv.FormatFloat(v.FloatV(), 'g', -1, 64)
			}
			fields = append(fields, fmt.Sprintf("%q=%s", k, value))
		}
		at, err := d.Time(lineprotocol.Nanosecond, time.Time{})
		require.NoError(t, err)
		require.False(t, at.IsZero(), "no time")
		all = append(all, pointText(string(m), tags, fields, at))
	}
	slices.Sort(all)
	return all
}

func pointText(measurement string, tags, fields []string, at time.Time) string {
	slices.Sort(tags)
	slices.Sort(fields)
	return fmt.Sprint(measurement, " ", strings.Join(tags, ","), " ", strings.Join(fields, ","), " ", at.UnixNano())
}
