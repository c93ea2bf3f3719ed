package hostinfo

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// CPU is how deep an idle CPU sleeps, and who sets its frequency. All of it is
// of CPU 0, for which the others are taken to stand.
type CPU struct {
	IdleDriver string         `json:"idle_driver,omitempty"` // "": the kernel does not manage sleep states
	Deepest    *IdleState     `json:"deepest,omitempty"`     // that may be entered
	Limit      *time.Duration `json:"limit_ns,omitempty"`    // some program (such as tuned) allows no longer latency
	Governor   string         `json:"governor,omitempty"`
	FreqDriver string         `json:"frequency_driver,omitempty"`
}

// IdleState is one sleep state.
type IdleState struct {
	Name    string        `json:"name"`
	Latency time.Duration `json:"latency_ns"` // to be awake again
}

// ReadCPU reads sysfs and the latency that programs ask for.
func ReadCPU() CPU { return readCPU("/sys/devices/system/cpu", "/dev/cpu_dma_latency") }

func readCPU(sys, qos string) CPU {
	c := CPU{
		IdleDriver: readLine(filepath.Join(sys, "cpuidle/current_driver")),
		Governor:   readLine(filepath.Join(sys, "cpu0/cpufreq/scaling_governor")),
		FreqDriver: readLine(filepath.Join(sys, "cpu0/cpufreq/scaling_driver")),
		Limit:      latencyLimit(qos),
	}
	if c.IdleDriver == "none" {
		c.IdleDriver = ""
	}
	states, err := filepath.Glob(filepath.Join(sys, "cpu0/cpuidle/state*"))
	if err != nil {
		return c
	}
	for _, dir := range states {
		us, err := strconv.ParseInt(readLine(filepath.Join(dir, "latency")), 10, 32)
		if err != nil || readLine(filepath.Join(dir, "disable")) != "0" {
			continue
		}
		s := IdleState{Name: readLine(filepath.Join(dir, "name")), Latency: time.Duration(us) * time.Microsecond}
		if c.Limit != nil && s.Latency > *c.Limit {
			continue
		}
		if c.Deepest == nil || s.Latency > c.Deepest.Latency {
			c.Deepest = &s
		}
	}
	return c
}

// noLimit is PM_QOS_CPU_LATENCY_DEFAULT_VALUE, 2,000 s.
const noLimit = 2_000_000_000 // µs

// latencyLimit reads the limit in force. Opening the file asks for none.
func latencyLimit(qos string) *time.Duration {
	f, err := os.Open(qos)
	if err != nil {
		return nil
	}
	defer f.Close()
	var b [4]byte
	if n, err := f.Read(b[:]); err != nil || n != len(b) {
		return nil
	}
	us := int32(binary.NativeEndian.Uint32(b[:]))
	if us < 0 || us >= noLimit {
		return nil
	}
	d := time.Duration(us) * time.Microsecond
	return &d
}
