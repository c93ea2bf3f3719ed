// Package servers starts the real servers that windows are delivered to, for tests: InfluxDB 1.6 and 1.8,
// VictoriaMetrics, Telegraf and Prometheus, each on a free loopback port with a folder of its own.
//
// A server keeps its port and its folder while it is stopped, frozen, killed and started again, so that tests can do
// all of that to it. scripts/setup.sh installs the programs into bin/tools.
package servers
