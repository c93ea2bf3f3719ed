package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"github.com/llama-agent/llama-agent/pkg/sink"
)

// decoded is a line with all its values at hand.
type decoded struct {
	measurement string
	tags        [][2]string
	keys        []string
	values      []lineprotocol.Value
	at          time.Time
}

func decodeAll(text []byte) (all []decoded, err error) {
	for d := lineprotocol.NewDecoderWithBytes(text); d.Next(); {
		m, err := d.Measurement()
		if err != nil {
			return nil, err
		}
		l := decoded{measurement: string(m)}
		for {
			k, v, err := d.NextTag()
			if err != nil {
				return nil, err
			}
			if k == nil {
				break
			}
			l.tags = append(l.tags, [2]string{string(k), string(v)})
		}
		for {
			k, v, err := d.NextField()
			if err != nil {
				return nil, err
			}
			if k == nil {
				break
			}
			l.keys, l.values = append(l.keys, string(k)), append(l.values, v)
		}
		if l.at, err = d.Time(lineprotocol.Nanosecond, time.Time{}); err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// floor is the official encoder alone: the same lines, but with all values at hand, so that no quantile is found, no
// name looked at, no tag sorted.
func (d *deliverBench) floor() error {
	text, _, err := newBenchEncoder().Window(nil, d.window(deliverPaths))
	if err != nil {
		return err
	}
	lines, err := decodeAll(text)
	if err != nil {
		return err
	}
	var e lineprotocol.Encoder
	e.SetPrecision(lineprotocol.Nanosecond)
	e.SetBuffer(make([]byte, 0, len(text)))
	return d.timed("line-protocol 2.2.1, values at hand", func() (int, error) {
		e.Reset()
		for i := range lines {
			l := &lines[i]
			e.StartLine(l.measurement)
			for _, t := range l.tags {
				e.AddTag(t[0], t[1])
			}
			for i, k := range l.keys {
				e.AddField(k, l.values[i])
			}
			e.EndLine(l.at)
		}
		return len(lines), e.Err()
	})
}

// telegraf takes lines that are encoded already, from a unix socket, and pushes them.
func (d *deliverBench) telegraf() error {
	vm, addr, err := d.victoria()
	if err != nil {
		return err
	}
	defer vm.stop()
	d.tried++
	socket, conf := filepath.Join(d.dir, fmt.Sprint(d.tried)), filepath.Join(d.dir, fmt.Sprint(d.tried, ".conf"))
	if err := os.WriteFile(conf, fmt.Appendf(nil, `[agent]
omit_hostname = true
flush_interval = "100ms"
metric_batch_size = 5000
metric_buffer_limit = 1000000
[[inputs.socket_listener]]
service_address = "unix://%s"
data_format = "influx"
[[outputs.influxdb]]
urls = ["http://%s"]
database = "llama"
skip_database_creation = true
`, socket, addr), 0o600); err != nil {
		return err
	}
	p, err := d.started(0, "unix://"+socket, "telegraf", "--quiet", "--config", conf)
	if err != nil {
		return err
	}
	defer p.stop()
	w, err := sink.NewSocket(sink.SocketConfig{Address: "unix://" + socket})
	if err != nil {
		return err
	}
	defer w.Close()
	var batches []sink.Batch
	values := []int{0} // that VictoriaMetrics has after each batch
	for range deliverWindows + 1 {
		text, n, err := newBenchEncoder().Window(nil, d.window(deliverPaths))
		if err != nil {
			return err
		}
		lines, err := decodeAll(text)
		if err != nil {
			return err
		}
		sum := values[len(values)-1]
		for _, l := range lines {
			sum += len(l.keys)
		}
		batches, values = append(batches, sink.Batch{Data: text, Lines: n}), append(values, sum)
	}
	push := func(batches []sink.Batch, values int) error {
		for _, b := range batches {
			if err := w.Write(d.ctx, b); err != nil {
				return err
			}
		}
		return d.await(addr, values)
	}
	if err := push(batches[:1], values[1]); err != nil {
		return err
	}
	before, err := p.cpu()
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := push(batches[1:], values[len(values)-1]); err != nil {
		return err
	}
	elapsed := time.Since(begun)
	after, err := p.cpu()
	if err != nil {
		return err
	}
	d.pushed("Telegraf 1.37.2, from a unix socket", elapsed, after-before)
	return nil
}

// await returns once VictoriaMetrics has so many values.
func (d *deliverBench) await(addr string, values int) error {
	for end := time.Now().Add(2 * time.Minute); ; d.pause(20 * time.Millisecond) {
		n, err := rows(addr)
		if err != nil {
			return err
		}
		if int(n) >= values {
			return nil
		}
		if d.ctx.Err() != nil || time.Now().After(end) {
			return fmt.Errorf("%.0f of %d values were delivered", n, values)
		}
	}
}

func readAll(r io.Reader) (string, error) {
	b, err := io.ReadAll(r)
	return string(b), err
}
