// Package cloudtest runs a control plane inside a test. Its atom enrolls, polls
// and reports, and runs no processes.
package cloudtest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"valence/atom/steps"
	"valence/cloud"
	"valence/cloud/gate"
	"valence/cloud/store"
	"valence/cloud/store/postgres"
	"valence/connectors/all"
	"valence/internal/metrics"
	"valence/internal/wire"
	"valence/processes"
)

// Options of a control plane. The zero value is one with default settings.
type Options struct {
	Dir     string        // data folder; "" is a temporary one
	Shared  string        // URL of a PostgreSQL database, which others may share; "": a SQLite store in Dir
	Listen  string        // "": any loopback port
	Hold    time.Duration // of polls, see gate.Options
	Rate    float64       // see cloud.Options
	Burst   int
	Quotas  *cloud.Quotas // nil: the default ones
	Log     *slog.Logger
	Handler func(*cloud.Service) http.Handler // serves all paths except those of atoms; may be nil
}

// Plane is a control plane that runs until the test ends.
type Plane struct {
	*cloud.Service
	Gate    *gate.Gate
	Store   cloud.Store
	Metrics *metrics.Cloud
	URL     string
	Dir     string
	Admin   cloud.Principal // an admin of the default account

	server  *http.Server // nil without Start
	ctx     context.Context
	stop    context.CancelFunc
	done    chan error // receives a result of every running part
	running int
	close   func() error
}

// stored is a store with a life cycle.
type stored interface {
	cloud.Store
	Run(ctx context.Context) error
	Close() error
}

func openStored(o Options) (stored, error) {
	if o.Shared != "" {
		return postgres.Open(context.Background(), postgres.Options{URL: o.Shared, Dir: o.Dir, Log: o.Log})
	}
	return store.Open(o.Dir, store.Options{Log: o.Log})
}

// Open opens a store and runs its committer until the test ends or the function
// is called.
func Open(t testing.TB, dir string) (*store.Store, func()) {
	t.Helper()
	st, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- st.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, st.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return st, stop
}

// New returns a control plane that serves no requests and runs no background
// work. Its store runs until Stop or the end of the test.
func New(t testing.TB, o Options) *Plane {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	st, err := openStored(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Plane{Store: st, close: st.Close, Dir: o.Dir, Metrics: metrics.NewCloud(), ctx: ctx, stop: cancel, done: make(chan error, 3), running: 1}
	go func() { p.done <- st.Run(ctx) }()
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	p.Service, err = cloud.New(ctx, st, cloud.Options{Key: make([]byte, cloud.KeyBytes), Catalog: Catalog(), Log: o.Log, Metrics: p.Metrics, Rate: o.Rate, Burst: o.Burst, Quotas: o.Quotas})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Accounts.Bootstrap(ctx); err != nil {
		t.Fatal(err)
	}
	p.Admin = cloud.Principal{Account: cloud.DefaultAccount, User: "admin", Role: cloud.Admin, From: "127.0.0.1"}
	return p
}

// Start starts a control plane that serves requests.
func Start(t testing.TB, o Options) *Plane {
	t.Helper()
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	p := New(t, o)
	p.Metrics.OnScrape(p.Service.Metrics)
	p.Gate = gate.New(p.Service, gate.Options{Hold: o.Hold, Log: o.Log, Metrics: p.Metrics})
	mux := http.NewServeMux()
	mux.Handle("/atom/v1/", p.Gate)
	if o.Handler != nil {
		mux.Handle("/", o.Handler(p.Service))
	}
	listen, err := net.Listen("tcp", o.Listen)
	if err != nil {
		t.Fatal(err)
	}
	p.URL = "http://" + listen.Addr().String()
	p.server = &http.Server{Handler: mux, ConnContext: p.Gate.Link, ConnState: p.Gate.Unlink}
	go func() { p.done <- p.server.Serve(listen) }()
	go func() { p.done <- p.Service.Run(p.ctx) }()
	p.running += 2
	for deadline := time.Now().Add(30 * time.Second); p.Ready() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(p.Ready())
		}
	}
	return p
}

// Stop stops the control plane. Start on the same Dir continues with its data.
func (p *Plane) Stop() error {
	if p.stop == nil {
		return nil
	}
	var err error
	if p.server != nil {
		p.Gate.Close()
		err = p.server.Close()
	}
	p.stop()
	p.stop = nil
	for range p.running {
		if e := <-p.done; e != nil && !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
	}
	return errors.Join(err, p.close())
}

// Catalog returns the steps and connectors that packages may use.
func Catalog() *processes.Catalog {
	return &processes.Catalog{Steps: steps.Kinds(), Connectors: all.Registry("test")}
}

// Environment creates an environment.
func (p *Plane) Environment(t testing.TB, name string) cloud.Environment {
	t.Helper()
	e, err := p.Environments.Create(t.Context(), p.Admin, cloud.Environment{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Deploy packs one YAML file as a version of a project and deploys it.
func (p *Plane) Deploy(t testing.TB, environment, project, version, text string) (cloud.Package, cloud.Deployment) {
	t.Helper()
	archive, err := wire.Pack([]wire.PackageFile{{Name: "project.yaml", Content: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	x, err := p.Packages.Create(t.Context(), p.Admin, cloud.Upload{Archive: archive, Project: project, Version: version})
	if err != nil {
		t.Fatal(err)
	}
	d, err := p.Service.Deployments.Deploy(t.Context(), p.Admin, cloud.Deployment{PackageID: x.ID, EnvironmentID: environment})
	if err != nil {
		t.Fatal(err)
	}
	return x, d
}

// InstallToken creates an install token for an environment.
func (p *Plane) InstallToken(t testing.TB, environment string) string {
	t.Helper()
	token, err := p.Fleet.CreateInstallToken(t.Context(), p.Admin, environment, 0)
	if err != nil {
		t.Fatal(err)
	}
	return token.Token
}
