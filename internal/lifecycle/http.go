package lifecycle

import (
	"context"
	"net"
	"net/http"
	"time"
)

// shutdownGrace is the time that requests have to finish after Serve's context ends.
const shutdownGrace = 3 * time.Second

// Serve serves HTTP on ln until ctx ends, then shuts down gracefully.
func Serve(ctx context.Context, srv *http.Server, ln net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	err := srv.Shutdown(grace)
	if err != nil {
		err = srv.Close()
	}
	<-served
	return err
}

// LocalAddress returns an address at which this machine reaches a listener on
// addr: the loopback address if addr means all interfaces.
func LocalAddress(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}
