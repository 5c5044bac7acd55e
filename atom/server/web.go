package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"valence/atom/admin"
	"valence/atom/dataplane"
	"valence/atom/store"
	"valence/internal/budget"
	"valence/internal/clierror"
	"valence/internal/drain"
	"valence/internal/lifecycle"
	"valence/internal/servercert"
)

// requestShare is the part of the memory that the bodies of requests may use by
// default: one of four.
const requestShare = 4

// addressShare is the part of the connections that one client address may use by
// default: one of four.
const addressShare = 4

// perAddress returns the most connections of one client address, 0 for no limit.
func (w WebOptions) perAddress() int {
	switch {
	case w.MaxConnectionsPerAddress != nil:
		return *w.MaxConnectionsPerAddress
	case w.MaxConnections > 0:
		return max(1, w.MaxConnections/addressShare)
	}
	return 0
}

// openWeb opens the address of the web services and returns the function that
// serves them.
func (s *Server) openWeb() (func(context.Context) error, error) {
	w := s.o.Web
	o := dataplane.Options{
		Atom: s.atom, Blobs: s.store.blobs, Address: w.Address, Ready: s.ready, Log: s.log, Metrics: s.metrics,
		PublicURL: w.PublicURL, Grace: s.o.Grace, Lag: w.ShutdownDelay, MaxConnections: w.MaxConnections, MaxConnectionsPerAddress: w.perAddress(),
	}
	o.Memory = budget.NewPool(cmp.Or(w.MaxRequestMemory, budget.Machine()/requestShare))
	s.metrics.OnRequestMemory(o.Memory)
	scheme := "http"
	if w.TLSCert != "" {
		certificate, err := s.openCertificate("listen", w.TLSCert, w.TLSKey)
		if err != nil {
			return nil, clierror.Failed("--tls-cert and --tls-key with PEM files of one key pair", "%v", err)
		}
		o.TLS, scheme = certificate, "https"
	}
	if w.AccessLogEvery > 0 {
		o.Access, o.AccessEvery = s.log, w.AccessLogEvery
	}
	web := dataplane.New(o)
	if err := web.Listen(context.Background()); err != nil {
		return nil, clierror.Listen("--listen", w.Address, err)
	}
	s.atom.OnDeploy(web.Deploy)
	s.address.Listen = scheme + "://" + lifecycle.LocalAddress(web.Addr())
	s.atom.SetPublicURL(cmp.Or(w.PublicURL, s.address.Listen))
	return web.Run, nil
}

// openCertificate loads the certificate of an address and starts to watch its
// expiry.
func (s *Server) openCertificate(address, cert, key string) (*servercert.Certificate, error) {
	c, err := servercert.Open(servercert.Files{Cert: cert, Key: key}, s.log)
	if err != nil {
		return nil, err
	}
	s.certificates.Store(address, c)
	s.parts.Start("certificate of "+address, c.Run)
	return c, nil
}

// openAdmin opens the address of the admin API and returns the function that
// serves it.
func (s *Server) openAdmin() (func(context.Context) error, error) {
	ln, err := s.listenAdmin()
	if err != nil {
		return nil, err
	}
	stopped := make(chan struct{})
	var group store.Group
	if g := s.store.group; g != nil {
		group = g
	}
	srv := &http.Server{
		Handler: drain.Handler(admin.New(admin.Options{
			Group:    group,
			Activity: s.atom, Stopped: stopped,
			Processes: s.atom, Triggers: s.atom, Executions: s.atom, Failures: s.atom, Sequences: s.atom, Connections: s.atom, Backup: s.store.backup,
			Metrics: s.metrics.Handler(), Token: s.token, Log: s.log, Masks: s.masks,
		})),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	srv.RegisterOnShutdown(func() { close(stopped) })
	return func(ctx context.Context) error { return lifecycle.Serve(ctx, srv, ln) }, nil
}

// listenAdmin opens the address of the admin API, with TLS if configured.
func (s *Server) listenAdmin() (net.Listener, error) {
	a := s.o.Admin
	secure := a.TLSCert != ""
	ln, err := net.Listen("tcp", a.Address)
	if err != nil {
		return nil, clierror.Listen("--admin", a.Address, err)
	}
	if err := admin.CheckExposure(ln.Addr(), secure, a.AllowPlain); err != nil {
		ln.Close()
		return nil, clierror.Usage("--admin 127.0.0.1:9091, or --admin-tls-cert and --admin-tls-key, or --admin-beyond-loopback-without-tls", "%v", err)
	}
	s.address.PID, s.address.Admin = os.Getpid(), "http://"+lifecycle.LocalAddress(ln.Addr().String())
	if !secure {
		return ln, nil
	}
	certificate, err := s.openCertificate("admin", a.TLSCert, a.TLSKey)
	if err != nil {
		ln.Close()
		return nil, clierror.Failed("--admin-tls-cert and --admin-tls-key with PEM files of one key pair", "%v", err)
	}
	s.address.Admin = "https://" + lifecycle.LocalAddress(ln.Addr().String())
	return tls.NewListener(ln, &tls.Config{GetCertificate: certificate.Get, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}), nil
}
