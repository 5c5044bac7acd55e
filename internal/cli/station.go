package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"valence/atom"
	"valence/connectors/all"
	webhook "valence/connectors/http"
	"valence/internal/agent"
	"valence/internal/console"
	"valence/internal/fault"
	"valence/internal/listener"
	"valence/internal/metrics"
	"valence/internal/sqlitedb"
	"valence/internal/store/sqlite"
	"valence/processes"
)

// station is an atom with everything around it: store, web services, admin API.
type station struct {
	o         *stationOptions
	log       *slog.Logger
	recent    *agent.Recent // its last lines
	metrics   *metrics.Metrics
	store     *sqlite.Store
	atom      *atom.Atom
	parts     *parts
	token     string
	tokenFile string
	address   address
	agent     *agent.Agent // nil: the data folder has joined no control plane
	identity  *agent.Identity
}

type stationOptions struct {
	places      placeFlags
	serve       serveFlags
	accessEvery int
	log         *slog.Logger
}

// open opens the data folder. Nothing runs yet.
func open(o *stationOptions) (*station, error) {
	if err := makeDataFolder(o.places.Data); err != nil {
		return nil, err
	}
	if why := exposed(o.places.Data, keyFile, filepath.Join(agent.Folder, agent.IdentityFile)); why != "" {
		o.log.Warn(why)
	}
	recent := agent.NewRecent(o.log.Handler())
	o.log = slog.New(recent)
	st := &station{o: o, recent: recent, log: o.log, metrics: metrics.New(), parts: newParts()}
	st.metrics.Version(version)
	store, err := sqlite.Open(o.places.Data, sqlite.Options{
		Log: o.log, HistoryMaxBytes: o.places.HistoryMaxBytes, OnCommit: st.metrics.Commit,
	})
	if err != nil {
		return nil, openError(o.places.Data, err)
	}
	st.store = store
	key, err := atomKey(o.places.Data)
	if err == nil {
		st.token, err = console.Token(o.places.Data)
		st.tokenFile = filepath.Join(o.places.Data, console.TokenFile)
	}
	if err != nil {
		return nil, errors.Join(failedAs(err, "--data DIR with a folder of your own"), store.Close())
	}
	st.atom = atom.New(atom.Options{
		Store: store, Connectors: all.Registry(version), Callbacks: webhook.Callbacks(version), Key: key, Log: o.log, Metrics: st.metrics, Grace: o.serve.Grace,
	})
	st.metrics.OnScrape(st.fares)
	return st, nil
}

// failedAs makes err a failure to start, unless it says already what it is.
func failedAs(err error, try string) error {
	if m := (*mistake)(nil); errors.As(err, &m) {
		return err
	}
	return failed(try, "%v", err)
}

// start deploys the project and opens the doors, in an order in which nothing
// is taken that cannot be kept: the store runs before anything is deployed,
// and the web services are last.
func (st *station) start(project *loaded) error {
	st.parts.start("store", st.store.Run)
	if st.agent != nil {
		st.parts.start("agent's file", st.agent.RunSpool)
	}
	if err := st.first(project); err != nil {
		return err
	}
	admin, err := st.openAdmin()
	if err != nil {
		return err
	}
	st.parts.start("admin API", admin)
	var web func(context.Context) error
	if st.o.serve.Listen != "" {
		if web, err = st.openWeb(); err != nil {
			return err
		}
	}
	if st.agent != nil {
		st.parts.start("agent", st.agent.Run)
	}
	st.parts.start("atom", st.atom.Run)
	if web != nil {
		st.parts.start("web services", web)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for st.atom.Ready() != nil {
		select {
		case err := <-st.parts.failed:
			return failed("the log", "%v", err)
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return failed("the log", "the atom did not become ready: %v", st.atom.Ready())
		}
	}
	if err := writeAddress(st.o.places.Data, st.address); err != nil {
		return failed("--data DIR with a folder that can be written to", "%v", err)
	}
	return nil
}

// first deploys once the store takes writes, which it does when it has begun
// to run.
func (st *station) first(project *loaded) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		err := st.deploy(ctx, project)
		if !errors.Is(err, atom.ErrUnavailable) {
			return err
		}
		select {
		case err := <-st.parts.failed:
			return failed("the log", "%v", err)
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return failed("the log", "%v", err)
		}
	}
}

// deploy puts a project, with the values of this place, into effect.
func (st *station) deploy(ctx context.Context, p *loaded) error {
	if st.agent != nil {
		return st.startAgent(ctx)
	}
	v, err := valuesOf(p.project, st.o.places.Environment)
	if err != nil {
		return err
	}
	err = st.atom.Deploy(ctx, atom.Release{
		Project: p.project, Files: p.files, Env: v.env, Secrets: v.secrets, Environment: v.environment,
	})
	if problems := (fault.Problems)(nil); errors.As(err, &problems) {
		return failed("correct what it names", "the project cannot start here:\n%v", problems)
	}
	return err
}

// reload deploys other files. If they have errors, or values are missing, the
// version before goes on.
func (st *station) reload(ctx context.Context, files []processes.File) {
	project, problems := processes.Load(files, catalog())
	for _, p := range problems {
		level := slog.LevelWarn
		if p.Severity == fault.Error {
			level = slog.LevelError
		}
		st.log.Log(ctx, level, p.Msg, "at", p.Pos.String(), "code", string(p.Code), "try", p.Hint)
	}
	if problems.HasErrors() {
		n, _ := tally(problems)
		st.log.Error("the project was not reloaded; the version before goes on", "errors", n)
		return
	}
	deploy := func() error { return st.deploy(ctx, &loaded{project, problems, files}) }
	if st.agent != nil {
		deploy = func() error { return st.agent.Reload(ctx, files) }
	}
	if err := deploy(); err != nil {
		st.log.Error("the project was not reloaded; the version before goes on", "error", err)
		return
	}
	st.log.Info("the project was reloaded", "processes", len(project.Processes), "files", len(files))
}

// openWeb opens the address of the web services and gives what serves it.
func (st *station) openWeb() (func(context.Context) error, error) {
	f := st.o.serve
	o := listener.Options{
		Atom: st.atom, Address: f.Listen, Ready: st.ready, Log: st.log, Metrics: st.metrics,
		Grace: f.Grace, Lag: f.ShutdownDelay, MaxConnections: f.MaxConnections,
	}
	scheme := "http"
	if f.TLSCert != "" {
		o.TLS, scheme = &listener.Certificate{Cert: f.TLSCert, Key: f.TLSKey}, "https"
	}
	if st.o.accessEvery > 0 {
		o.Access, o.AccessEvery = st.log, st.o.accessEvery
	}
	web := listener.New(o)
	if err := web.Listen(context.Background()); err != nil {
		return nil, addressError("--listen", f.Listen, err)
	}
	st.atom.OnDeploy(web.Deploy)
	st.address.Listen = scheme + "://" + reachable(web.Addr())
	st.atom.SetPublicURL(cmp.Or(f.PublicURL, st.address.Listen))
	return web.Run, nil
}

// openAdmin opens the address of the admin API and gives what serves it.
func (st *station) openAdmin() (func(context.Context) error, error) {
	f := st.o.serve
	secure := f.AdminTLSCert != ""
	ln, err := net.Listen("tcp", f.Admin)
	if err != nil {
		return nil, addressError("--admin", f.Admin, err)
	}
	if err := console.Allowed(ln.Addr(), secure, f.AdminBeyondLoopback); err != nil {
		ln.Close()
		return nil, usage("--admin 127.0.0.1:9091, or --admin-tls-cert and --admin-tls-key, or --admin-beyond-loopback-without-tls", "%v", err)
	}
	st.address.PID, st.address.Admin = os.Getpid(), "http://"+reachable(ln.Addr().String())
	if secure {
		load := func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(f.AdminTLSCert, f.AdminTLSKey)
			return &cert, err
		}
		if _, err := load(nil); err != nil {
			ln.Close()
			return nil, failed("--admin-tls-cert and --admin-tls-key with PEM files that belong together", "%v", err)
		}
		ln = tls.NewListener(ln, &tls.Config{GetCertificate: load, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
		st.address.Admin = "https://" + reachable(ln.Addr().String())
	}
	stopped := make(chan struct{})
	srv := &http.Server{
		Handler: console.New(console.Options{
			Happenings: st.atom, Stopped: stopped,
			Processes: st.atom, Triggers: st.atom, Executions: st.atom, Failures: st.atom, Sequences: st.atom, Connections: st.atom, Backup: st.backup,
			Metrics: st.metrics.Handler(), Token: st.token, Log: st.log,
		}),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(st.log.Handler(), slog.LevelDebug),
	}
	srv.RegisterOnShutdown(func() { close(stopped) })
	return func(ctx context.Context) error { return serveUntil(ctx, srv, ln) }, nil
}

// serveUntil serves until ctx ends; what is under way then has a few seconds.
func serveUntil(ctx context.Context, srv *http.Server, ln net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	err := srv.Shutdown(grace)
	if err != nil {
		err = srv.Close()
	}
	<-served
	return err
}

// stop stops everything and closes the data folder.
func (st *station) stop() error {
	if running, ok := readAddress(st.o.places.Data); ok && running.PID == os.Getpid() {
		if err := os.Remove(filepath.Join(st.o.places.Data, addressFile)); err != nil {
			st.log.Warn("where this atom answered is still written down", "error", err)
		}
	}
	err := st.parts.stop()
	if st.agent != nil {
		err = errors.Join(err, st.agent.Close())
	}
	return errors.Join(err, st.store.Close())
}

// backup copies the data folder while it is in use.
func (st *station) backup(ctx context.Context, dest string) error {
	return backupTo(ctx, st.store, st.o.places.Data, dest)
}

// fares tells the metrics how the store does.
func (st *station) fares() metrics.Store {
	stats := st.store.Stats()
	m := metrics.Store{Err: st.store.Err(), HistoryBytes: stats.HistoryBytes, RecordsDropped: stats.Dropped, ClockJumps: stats.ClockJumps}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var uncounted error
	m.RepliesKept, uncounted = st.store.RepliesKept(ctx)
	counts, err := st.store.Counts(ctx)
	err = errors.Join(err, uncounted)
	for process, states := range counts {
		b := metrics.Backlog{Process: process, States: map[string]int64{}}
		for state, n := range states {
			b.States[string(state)] = n
		}
		var oldest error
		b.Oldest, oldest = st.store.Oldest(ctx, process)
		err = errors.Join(err, oldest)
		m.Backlog = append(m.Backlog, b)
	}
	if m.Err == nil {
		m.Err = err
	}
	return m
}

// reachable gives an address of this machine for one that means all of them.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

func addressError(flag, addr string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return failed(flag+" HOST:PORT with another port, or stop what listens there", "the address %s is in use", addr)
	case errors.Is(err, syscall.EACCES):
		return failed(flag+" HOST:PORT with a port above 1023", "this user may not listen on %s", addr)
	}
	return failed(flag+" HOST:PORT", "%v", err)
}

func openError(folder string, err error) error {
	if locked := (*sqlitedb.LockedError)(nil); errors.As(err, &locked) {
		return failed("stop that atom, or --data DIR with another folder", "another atom runs on the data folder: %v", locked)
	}
	if errors.Is(err, fs.ErrPermission) {
		return notOwner(folder)
	}
	return failed("--data DIR with another folder, or a backup", "the data folder %s cannot be opened: %v", folder, err)
}
