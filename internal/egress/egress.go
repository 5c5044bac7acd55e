// Package egress decides where others may make us call: a list of URL
// prefixes that an author allows, and the addresses that are never called
// unless they stand in it. It protects against server-side request forgery
// (CWE-918): the address that was checked is the one that is dialled.
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

// List is what an author allows. It is never changed after Parse.
type List struct {
	prefixes []prefix
	networks []netip.Prefix
}

type prefix struct {
	scheme, host, port string
	path               string
}

// Resolver finds the addresses of a host; net.DefaultResolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// ErrRefused is every URL and every address that the list does not allow. The
// text beside it may be shown to whoever sent the URL.
var ErrRefused = errors.New("not allowed")

func refused(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrRefused)...)
}

// Parse reads a list. An entry is a URL, which allows every URL below it:
// https://shop.example/hooks/; or an address or network, such as 10.0.3.0/24,
// which the hosts of such URLs may have though it is not public.
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
			return nil, fmt.Errorf("`%s`: an entry has no query", e)
		}
		l.prefixes = append(l.prefixes, prefix{u.Scheme, host(u), port(u), u.EscapedPath()})
	}
	return l, nil
}

// parse reads an absolute URL of a web service in the one form that every
// library reads alike.
func parse(raw string) (*url.URL, error) {
	for i := 0; i < len(raw); i++ {
		if c := raw[i]; c <= ' ' || c >= 0x7f || c == '\\' {
			return nil, errors.New("it has characters that a URL cannot have")
		}
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || len(raw) > 2048:
		return nil, errors.New("it is no URL of at most 2048 characters")
	case u.Scheme != "https" && u.Scheme != "http" || u.Opaque != "":
		return nil, errors.New("it must begin with https:// or http://")
	case u.User != nil:
		return nil, errors.New("it must not hold a user or a password")
	case u.Hostname() == "" || strings.HasSuffix(u.Host, ":") || strings.ContainsAny(u.Host, "%"):
		return nil, errors.New("it has no host that can be read")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return nil, errors.New("it must not have a fragment")
	}
	for s := range strings.SplitSeq(u.Path, "/") {
		if s == "." || s == ".." {
			return nil, errors.New("its path must not have dot segments")
		}
	}
	if e := strings.ToLower(u.EscapedPath()); strings.Contains(e, "%2f") || strings.Contains(e, "%5c") {
		return nil, errors.New("its path must not have encoded slashes")
	}
	return u, nil
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

// Target reads a URL that somebody else named, and checks it against the
// prefixes: scheme, host and port must be an entry's, the path below it.
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
	return nil, refused("it is not below a URL that is allowed here")
}

// below compares by segments, so that /hooks does not allow /hooks-of-others.
func below(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || prefix == "" || strings.HasSuffix(prefix, "/") || rest[0] == '/')
}

// Resolve gives the addresses of a URL's host that may be dialled. It refuses
// the host if any of its addresses is not allowed.
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
		return nil, refused("its port cannot be read")
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
		return nil, fmt.Errorf("resolve %s: it has no address", name)
	}
	return out, nil
}

// permits reports whether an author named an address: by the address itself,
// by its network, or, for this machine, as localhost.
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

// special are addresses that no public service has, or through which others
// are reached (IANA special-purpose address registries; RFC 6052, 3056, 4380).
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

// Public reports whether an address is one of the internet's.
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
