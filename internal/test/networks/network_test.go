package networks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Addresses and rules.
const (
	cloudIP  = "10.77.1.1"
	cloudGW  = "10.77.1.254"
	siteIP   = "192.168.77.1"
	siteGW   = "192.168.77.254"
	proxyAt  = siteGW + ":8888"
	outbound = `
table ip relay {
	chain post {
		type nat hook postrouting priority 100;
		oifname "cloud0" masquerade
	}
	chain forward {
		type filter hook forward priority 0; policy drop;
		%s
	}
	chain input {
		type filter hook input priority 0; policy drop;
		iifname "lo" accept
		ct state established,related accept
		iifname "site0" tcp dport 8888 accept
	}
}`
	natRules   = "ct state established,related accept\n\t\tiifname \"site0\" oifname \"cloud0\" accept"
	proxyRules = "counter drop" // only the proxy connects the two sides
)

// network is a cloud and a site, connected by a firewall.
type network struct {
	t                     *testing.T
	cloud, firewall, site string // namespaces
}

// newNetwork creates a network that allows outbound connections: all of them
// through NAT, or only through a proxy on the firewall.
func newNetwork(t *testing.T, proxied bool) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	for _, program := range []string{"ip", "nft", "sysctl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed; run make setup", program)
		}
	}
	probe := fmt.Sprintf("vx%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", probe).CombinedOutput(); err != nil {
		t.Skipf("this machine does not let root make network namespaces: %v %s", err, out)
	}
	if out, err := exec.Command("ip", "netns", "del", probe).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	id := os.Getpid()
	kind := "n"
	rules := natRules
	if proxied {
		kind, rules = "p", proxyRules
	}
	n := &network{t: t, cloud: fmt.Sprintf("vc%s%d", kind, id), firewall: fmt.Sprintf("vf%s%d", kind, id), site: fmt.Sprintf("vs%s%d", kind, id)}
	for _, ns := range []string{n.cloud, n.firewall, n.site} {
		n.do("ip", "netns", "add", ns)
		t.Cleanup(func() { n.do("ip", "netns", "del", ns) })
		n.in(ns, "ip", "link", "set", "lo", "up")
	}
	n.do("ip", "link", "add", "eth0", "netns", n.cloud, "type", "veth", "peer", "name", "cloud0", "netns", n.firewall)
	n.do("ip", "link", "add", "eth0", "netns", n.site, "type", "veth", "peer", "name", "site0", "netns", n.firewall)
	for _, a := range [][3]string{{n.cloud, cloudIP, "eth0"}, {n.firewall, cloudGW, "cloud0"}, {n.firewall, siteGW, "site0"}, {n.site, siteIP, "eth0"}} {
		n.in(a[0], "ip", "address", "add", a[1]+"/24", "dev", a[2])
		n.in(a[0], "ip", "link", "set", a[2], "up")
	}
	n.in(n.site, "ip", "route", "add", "default", "via", siteGW)
	n.in(n.cloud, "ip", "route", "add", "192.168.77.0/24", "via", cloudGW) // inbound packets reach the firewall
	n.in(n.firewall, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	n.in(n.firewall, "nft", fmt.Sprintf(outbound, rules))
	return n
}

// link disconnects ("down") or reconnects ("up") the site.
func (n *network) link(state string) {
	n.t.Helper()
	n.in(n.firewall, "ip", "link", "set", "site0", state)
}

func (n *network) do(name string, args ...string) {
	n.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		n.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func (n *network) in(ns, name string, args ...string) {
	n.t.Helper()
	n.do("ip", append([]string{"netns", "exec", ns, name}, args...)...)
}

// inside runs do on an operating-system thread in a namespace; sockets created
// there stay there. The thread must outlive do, because the programs it started
// would end with it.
func inside(ns string, do func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	there, err := os.Open("/run/netns/" + ns)
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	err = do()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(back) // later work on this thread would run in the wrong namespace
	}
	return err
}

// listen listens in a namespace.
func (n *network) listen(ns, address string) net.Listener {
	n.t.Helper()
	var ln net.Listener
	err := inside(ns, func() (err error) {
		ln, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return ln
}

// dialer returns a dial function for a namespace.
func dialer(ns string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		var c net.Conn
		err := inside(ns, func() (err error) {
			var d net.Dialer
			c, err = d.DialContext(ctx, network, address)
			return err
		})
		return c, err
	}
}

func tlsOf(pool *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}
