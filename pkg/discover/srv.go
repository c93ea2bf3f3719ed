package discover

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// lookup makes a list of the SRV records of a name (RFC 2782): their hosts and ports. Priority and weight are of no
// use here, since all are probed. A host with several ports is several targets, HOST:PORT.
func (f *follower) lookup(ctx context.Context) (a answer, err error) {
	r := f.options.Resolver
	if r == nil {
		r = net.DefaultResolver
	}
	_, records, err := r.LookupSRV(ctx, "", "", f.source.Name)
	if err != nil && len(records) == 0 { // with records, the error is of others that are none
		return a, fmt.Errorf("look up SRV: %w", err)
	}
	type target struct {
		Address string `json:"address"`
		Port    uint16 `json:"port"`
	}
	ports := map[string]map[uint16]bool{}
	for _, rec := range records {
		if rec.Target == "." || rec.Port == 0 {
			continue // the service is not to be had
		}
		host := strings.ToLower(rec.Target)
		if ports[host] == nil {
			ports[host] = map[uint16]bool{}
		}
		ports[host][rec.Port] = true
	}
	list := map[string]target{}
	for host, all := range ports {
		for port := range all {
			name := strings.TrimSuffix(host, ".")
			if len(all) > 1 {
				name = net.JoinHostPort(name, strconv.Itoa(int(port)))
			}
			list[name] = target{host, port}
		}
	}
	data, err := json.MarshalIndent(list, "", " ") // sorted: the same records are the same list
	if err != nil {
		return a, fmt.Errorf("look up SRV: %w", err)
	}
	return answer{data: data}, nil
}
