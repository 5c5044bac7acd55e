package egress

import (
	"errors"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Hosts is a list of hosts that may be called. It is immutable.
type Hosts struct {
	names    []namedHost
	networks []network
}

type namedHost struct {
	name, port string // an empty port is any port
	below      bool   // the names below name; every name if name is empty
}

type network struct {
	prefix netip.Prefix
	port   string
}

var hostName = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)

// ParseHosts parses the entries of a list: a name such as erp.example, which
// may be followed by a port; *.example.com for all names below; an address,
// which may be followed by a port; a network such as 10.0.0.0/8; or * for every
// name.
func ParseHosts(entries []string) (*Hosts, error) {
	h := &Hosts{}
	for _, entry := range entries {
		if p, err := netip.ParsePrefix(entry); err == nil {
			h.networks = append(h.networks, network{prefix: p.Masked()})
			continue
		}
		name, port, err := net.SplitHostPort(entry)
		if err != nil {
			name, port = strings.TrimSuffix(strings.TrimPrefix(entry, "["), "]"), ""
		} else if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || strings.Contains(name, "/") {
			return nil, notHost(entry)
		}
		if ip, err := netip.ParseAddr(name); err == nil && ip.Zone() == "" {
			ip = ip.Unmap()
			h.networks = append(h.networks, network{netip.PrefixFrom(ip, ip.BitLen()), port})
			continue
		}
		name, below := strings.CutPrefix(HostName(name), "*.")
		if name == "*" {
			h.names = append(h.names, namedHost{port: port, below: true})
			continue
		}
		if !hostName.MatchString(name) {
			return nil, notHost(entry)
		}
		h.names = append(h.names, namedHost{name, port, below})
	}
	return h, nil
}

func notHost(entry string) error {
	return errors.New("`" + entry + "` is not a host name, an address or a network, such as erp.example, erp.example:8443, *.example.com or 10.0.0.0/8")
}

// HostName returns a host name in the form that identifies it.
func HostName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// Named reports whether the list contains a host name, in the form of HostName.
func (h *Hosts) Named(name, port string) bool {
	return slices.ContainsFunc(h.names, func(n namedHost) bool {
		return (n.port == "" || n.port == port) &&
			(n.below && (n.name == "" || strings.HasSuffix(name, "."+n.name)) || !n.below && n.name == name)
	})
}

// Contains reports whether the list contains an address, or a network with it.
func (h *Hosts) Contains(ip netip.Addr, port string) bool {
	ip = ip.Unmap()
	return slices.ContainsFunc(h.networks, func(n network) bool {
		return (n.port == "" || n.port == port) && n.prefix.Contains(ip)
	})
}

// HasAddresses reports whether the list contains an address or a network.
func (h *Hosts) HasAddresses() bool { return len(h.networks) > 0 }

// metadata lists addresses at which clouds offer the credentials of a machine
// to the programs on it.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10"), // link-local
	netip.MustParsePrefix("fd00:ec2::254/128"), netip.MustParsePrefix("100.100.100.200/32"),
}

// Metadata reports whether ip is link-local, or otherwise an address that only
// this machine's host answers, such as the metadata service of a cloud.
func Metadata(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	return slices.ContainsFunc(metadata, func(p netip.Prefix) bool { return p.Contains(ip) })
}
