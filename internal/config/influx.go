package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// InfluxSink pushes by HTTP: to version 1 if Database is set, to version 2 or 3
// if Bucket is.
type InfluxSink struct {
	URL             string
	Database        string
	RetentionPolicy string
	Username        string
	Password        Secret
	Org             string
	Bucket          string
	Token           Secret
	TLS             TLS
	Timeout         time.Duration
	Gzip            bool
}

// TLS is files in PEM and what the server's certificate is for.
type TLS struct {
	CA, Cert, Key string // "": the system's authorities; no client certificate
	ServerName    string // "": the URL's host
}

func (d *decoder) influxFields(s *InfluxSink) []field {
	return []field{
		scalar("url", &s.URL, parseInfluxURL),
		scalar("database", &s.Database, nameText),
		scalar("retention_policy", &s.RetentionPolicy, nameText),
		scalar("username", &s.Username, nameText),
		inline("password", &s.Password, parseSecret),
		scalar("password_file", &s.Password, fromFile(d, readSecret)),
		scalar("password_env", &s.Password, secretFromEnv),
		scalar("org", &s.Org, nameText),
		scalar("bucket", &s.Bucket, nameText),
		inline("token", &s.Token, parseSecret),
		scalar("token_file", &s.Token, fromFile(d, readSecret)),
		scalar("token_env", &s.Token, secretFromEnv),
		scalar("ca_file", &s.TLS.CA, d.path),
		scalar("cert_file", &s.TLS.Cert, d.path),
		scalar("key_file", &s.TLS.Key, d.keyPath),
		scalar("server_name", &s.TLS.ServerName, nameText),
		scalar("timeout", &s.Timeout, duration(10*time.Millisecond, 5*time.Minute)),
		scalar("gzip", &s.Gzip, boolean),
	}
}

func parseInfluxURL(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return "", errors.New("is not a URL as http://127.0.0.1:8086") // unquoted: it may hold a password
	case u.User != nil:
		return "", errors.New("holds a user: write username and password")
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return "", fmt.Errorf("%s has a query or a fragment: write the base, as http://127.0.0.1:8086", show(s))
	}
	if u.Port() != "" {
		if _, err := parsePort(u.Port()); err != nil {
			return "", fmt.Errorf("port %w", err)
		}
	}
	return s, nil
}

func checkInflux(v value) {
	onlyOne(v, "password", "password_file", "password_env")
	onlyOne(v, "token", "token_file", "token_env")
	has := func(keys ...string) bool { return slices.ContainsFunc(keys, v.sets) }
	token, password := has("token", "token_file", "token_env"), has("password", "password_file", "password_env")
	v1, v2 := has("database"), token || has("org", "bucket")
	if !has("url") {
		v.problem("has no url")
	}
	switch {
	case v1 && v2:
		v.problem("mixes database (InfluxDB 1) with org, bucket and token (InfluxDB 2): one of the two")
	case !v1 && !v2:
		v.problem("has no database (InfluxDB 1), and no org, bucket and token (InfluxDB 2)")
	case v2 && !has("bucket"):
		v.problem("has no bucket")
	case v2 && has("retention_policy"):
		v.problem("retention_policy is for database (InfluxDB 1): a bucket has its own")
	}
	switch user := has("username"); {
	case (user || password) && v2 && !v1:
		v.problem("username and password are for database (InfluxDB 1): use token")
	case user != password:
		v.problem("username and password go together")
	}
	if has("cert_file") != has("key_file") {
		v.problem("cert_file and key_file go together")
	}
}

func onlyOne(v value, keys ...string) {
	for i, a := range keys {
		for _, b := range keys[i+1:] {
			v.oneOf(a, b)
		}
	}
}
