// Package config reads the agent's configuration file: strict, whole, and with
// the position of every mistake. It is the only importer of YAML.
//
// The file is walked once. Each section is a table of fields; a field names a
// key, where its value goes, and the parser that judges it. Mistakes are
// recorded and the walk goes on, so that one run tells of all of them. What
// depends on several keys is checked at the end, and skipped where one of those
// keys was already wrong.
package config
