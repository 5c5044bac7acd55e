package access

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"syscall"

	"valence/internal/egress"
)

// limit is a list of allowed hosts, and the error for the others.
type limit struct {
	hosts  *egress.Hosts
	refuse func(host, port string) error
}

// CheckURL returns an error if a URL leads to a host that is not allowed. Some
// hosts are judged by their addresses, which are known only when they are
// dialed.
func (p *Policy) CheckURL(u *url.URL) error {
	_, err := p.checkHost(u.Hostname(), portOf(u))
	return err
}

// checkHost returns an error if a host is not allowed. Each limit in pending
// must also be checked for every address of the host.
func (p *Policy) checkHost(host, port string) (pending []limit, err error) {
	if p == nil {
		return nil, nil
	}
	host = egress.HostName(host)
	ip, notAddress := netip.ParseAddr(host)
	for _, l := range p.limits {
		switch {
		case l.hosts.Named(host, port), notAddress == nil && l.hosts.Contains(ip, port):
		case notAddress != nil && l.hosts.HasAddresses():
			pending = append(pending, l)
		default:
			return nil, l.refuse(host, port)
		}
	}
	if notAddress == nil {
		return nil, p.checkAddress(host, ip, port, nil)
	}
	return pending, nil
}

// checkAddress returns an error if an address of a host is not allowed.
func (p *Policy) checkAddress(host string, ip netip.Addr, port string, pending []limit) error {
	if p.deployed && egress.Metadata(ip) && (p.hosts == nil || !p.hosts.Contains(ip, port)) {
		return refuse("hosts", ip.String(), "the address %s, which belongs to the machine", ip)
	}
	for _, l := range pending {
		if !l.hosts.Contains(ip, port) {
			return l.refuse(host, port)
		}
	}
	return nil
}

func refuseHost(host, port string) error {
	return refuse("hosts", host, "the host %s", net.JoinHostPort(host, port))
}

// DialFunc connects to an address.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Dialer returns a function that dials with d the hosts and addresses that the
// policy allows. Names are judged together with the addresses they have at that
// moment.
func (p *Policy) Dialer(d net.Dialer) DialFunc {
	if p == nil {
		return d.DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		pending, err := p.checkHost(host, port)
		if err != nil {
			return nil, err
		}
		inner, checked := d.ControlContext, d
		checked.ControlContext = func(ctx context.Context, network, address string, c syscall.RawConn) error {
			if at, err := netip.ParseAddrPort(address); err == nil {
				if err := p.checkAddress(host, at.Addr(), port, pending); err != nil {
					return err
				}
			}
			if inner == nil {
				return nil
			}
			return inner(ctx, network, address, c)
		}
		return checked.DialContext(ctx, network, address)
	}
}

// Guard makes a transport connect only to hosts that the policy allows. It
// dials with d. A proxy of the machine is always allowed; the hosts that it is
// asked for are judged instead.
func (p *Policy) Guard(t *http.Transport, d net.Dialer) {
	if t.DialContext = p.Dialer(d); p == nil || t.Proxy == nil {
		return
	}
	var proxies sync.Map // addresses of proxies that are in use
	next, direct := t.Proxy, t.DialContext
	t.Proxy = func(r *http.Request) (*url.URL, error) {
		proxy, err := next(r)
		if err != nil || proxy == nil {
			return proxy, err
		}
		pending, err := p.checkHost(r.URL.Hostname(), portOf(r.URL))
		if len(pending) > 0 { // only the proxy knows the address
			err = pending[0].refuse(r.URL.Hostname(), portOf(r.URL))
		}
		if err != nil {
			return nil, err
		}
		proxies.Store(net.JoinHostPort(proxy.Hostname(), portOf(proxy)), true)
		return proxy, nil
	}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if _, ok := proxies.Load(address); ok {
			return d.DialContext(ctx, network, address)
		}
		return direct(ctx, network, address)
	}
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	return map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
}

// CheckAddresses returns an error if a host, or one of its addresses, is not
// allowed. It is for callers that resolve names themselves.
func (p *Policy) CheckAddresses(u *url.URL, all []netip.AddrPort) error {
	if p == nil {
		return nil
	}
	pending, err := p.checkHost(u.Hostname(), portOf(u))
	for _, at := range all {
		if err == nil {
			err = p.checkAddress(u.Hostname(), at.Addr(), portOf(u), pending)
		}
	}
	return err
}
