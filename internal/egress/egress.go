// Package egress restricts the URLs that others can make this program call. A
// list contains the URL prefixes that an author allows; addresses that are not
// public are rejected unless the list contains them. It protects against
// server-side request forgery (CWE-918): callers dial the addresses that were
// checked.
package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// List is a list of allowed targets. It is immutable.
type List struct {
	prefixes []prefix
	networks []netip.Prefix
}

type prefix struct {
	scheme, host, port string
	path               string
}

// Resolver resolves host names. net.DefaultResolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// ErrRefused is wrapped by the error for every URL and address that the list
// does not allow. The rest of the message may be shown to the sender of the
// URL.
var ErrRefused = errors.New("not allowed")

func refused(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrRefused)...)
}

// Parse parses the entries of a list. An entry is either a URL, such as
// https://shop.example/hooks/, which allows every URL below it; or an address
// or network, such as 10.0.3.0/24, which allows hosts of such URLs to have a
// private address.
func Parse(entries []string) (*List, error) {
	l := &List{}
	for _, e := range entries {
		if p, err := netip.ParsePrefix(e); err == nil {
			l.networks = append(l.networks, p.Masked())
			continue
		}
		if ip, err := netip.ParseAddr(e); err == nil && ip.Zone() == "" {
			ip = ip.Unmap()
			l.networks = append(l.networks, netip.PrefixFrom(ip, ip.BitLen()))
			continue
		}
		u, err := parse(e)
		switch {
		case err != nil:
			return nil, fmt.Errorf("`%s`: %w", e, err)
		case u.RawQuery != "" || u.ForceQuery:
			return nil, fmt.Errorf("`%s`: an entry must not have a query", e)
		}
		l.prefixes = append(l.prefixes, prefix{u.Scheme, host(u), port(u), u.EscapedPath()})
	}
	return l, nil
}

// parse parses an absolute HTTP URL. It rejects forms that libraries interpret
// differently.
func parse(raw string) (*url.URL, error) {
	for i := 0; i < len(raw); i++ {
		if c := raw[i]; c <= ' ' || c >= 0x7f || c == '\\' {
			return nil, errors.New("it contains characters that are not allowed in a URL")
		}
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || len(raw) > 2048:
		return nil, errors.New("it is not a URL of at most 2048 characters")
	case u.Scheme != "https" && u.Scheme != "http" || u.Opaque != "":
		return nil, errors.New("it must begin with https:// or http://")
	case u.User != nil:
		return nil, errors.New("it must not contain a user or a password")
	case u.Hostname() == "" || strings.HasSuffix(u.Host, ":") || strings.ContainsAny(u.Host, "%"):
		return nil, errors.New("it has no valid host")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return nil, errors.New("it must not have a fragment")
	}
	return u, checkPath(u.EscapedPath())
}

// checkPath rejects paths that a server could read as another one. Proxies and
// servers may decode more than once, treat \ as / or cut off parameters (..;x).
func checkPath(path string) error {
	for {
		if lower := strings.ToLower(path); strings.Contains(lower, "%2f") || strings.Contains(lower, "%5c") {
			return errors.New("its path must not contain encoded slashes")
		}
		for s := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == '\\' }) {
			if s, _, _ = strings.Cut(s, ";"); s == "." || s == ".." {
				return errors.New("its path must not contain dot segments")
			}
		}
		decoded, err := url.PathUnescape(path)
		if err != nil || decoded == path {
			return nil
		}
		path = decoded
	}
}

func host(u *url.URL) string {
	return strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}

// Target parses a URL from an untrusted sender and checks it against the
// prefixes. Scheme, host and port must match an entry, and the path must be
// below its path.
func (l *List) Target(raw string) (*url.URL, error) {
	u, err := parse(raw)
	if err != nil {
		return nil, refused("%v", err)
	}
	path := u.EscapedPath()
	for _, p := range l.prefixes {
		if p.scheme == u.Scheme && p.host == host(u) && p.port == port(u) && below(path, p.path) {
			return u, nil
		}
	}
	return nil, refused("it is not below an allowed URL")
}

// below compares by segments, so that /hooks does not allow /hooks-other.
func below(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || prefix == "" || strings.HasSuffix(prefix, "/") || rest[0] == '/')
}

// Resolve returns the addresses of a URL's host. It rejects the host if any of
// its addresses is not allowed.
func (l *List) Resolve(ctx context.Context, r Resolver, u *url.URL) ([]netip.AddrPort, error) {
	name := host(u)
	ips := []netip.Addr{}
	if ip, err := netip.ParseAddr(name); err == nil {
		ips = append(ips, ip)
	} else if ips, err = r.LookupNetIP(ctx, "ip", name); err != nil {
		return nil, fmt.Errorf("resolve %s: %w", name, err)
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "tcp", port(u))
	if err != nil {
		return nil, refused("its port is invalid")
	}
	out := make([]netip.AddrPort, 0, len(ips))
	for _, ip := range ips {
		ip = ip.Unmap()
		if !Public(ip) && !l.permits(name, ip) {
			return nil, refused("its host has an address that is not public")
		}
		out = append(out, netip.AddrPortFrom(ip, uint16(n)))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("resolve %s: no address", name)
	}
	return out, nil
}

// permits reports whether the author listed an address: as such, by its
// network, or as localhost.
func (l *List) permits(name string, ip netip.Addr) bool {
	for _, n := range l.networks {
		if n.Contains(ip) {
			return true
		}
	}
	for _, p := range l.prefixes {
		if p.host != name {
			continue
		}
		if own, err := netip.ParseAddr(p.host); err == nil && own.Unmap() == ip {
			return true
		}
		if p.host == "localhost" && ip.IsLoopback() {
			return true
		}
	}
	return false
}

// special lists address ranges that no public service uses, or that lead to
// other addresses (IANA special-purpose address registries; RFC 6052, 3056,
// 4380).
var special = func() (list []netip.Prefix) {
	for _, p := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
		"192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
		"5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
	} {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}()

// Public reports whether ip is a public address.
func Public(ip netip.Addr) bool {
	if !ip.IsValid() || ip.Zone() != "" {
		return false
	}
	ip = ip.Unmap()
	for _, p := range special {
		if p.Contains(ip) {
			return false
		}
	}
	return true
}
