// Package cloudtest runs a control plane inside a test, and has an atom that
// only speaks: it enrols, polls and reports, and runs nothing.
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

// Options of a control plane; the zero value is one as it is started by hand.
type Options struct {
	Dir     string        // data folder; "" is a temporary one
	Shared  string        // URL of a PostgreSQL database, which others may use, too; "": everything is in Dir
	Listen  string        // "" is any port of loopback
	Hold    time.Duration // of polls, see gate.Options
	Log     *slog.Logger
	Handler func(*cloud.Service) http.Handler // for all paths but those of atoms; may be nil
}

// Plane is a control plane that runs until the test ends.
type Plane struct {
	*cloud.Service
	Gate    *gate.Gate
	Store   cloud.Store
	Metrics *metrics.Cloud
	URL     string
	Dir     string
	Admin   cloud.Principal // of the account default

	server *http.Server
	stop   context.CancelFunc
	done   chan error
	close  func() error
}

// stored is a store that runs.
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

// Open opens a store and runs its committer until the test ends, or until the
// function is called.
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

// Start starts one.
func Start(t testing.TB, o Options) *Plane {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	st, err := openStored(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Plane{Store: st, close: st.Close, Dir: o.Dir, Metrics: metrics.NewCloud(), stop: cancel, done: make(chan error, 3)}
	go func() { p.done <- st.Run(ctx) }()
	p.Service, err = cloud.New(ctx, st, cloud.Options{Key: make([]byte, cloud.KeyBytes), Catalog: Catalog(), Log: o.Log, Metrics: p.Metrics})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Bootstrap(ctx); err != nil {
		t.Fatal(err)
	}
	p.Metrics.OnScrape(p.Fleet)
	p.Admin = cloud.Principal{Account: cloud.DefaultAccount, User: "admin", Role: cloud.Admin, From: "127.0.0.1"}
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
	go func() { p.done <- p.Service.Run(ctx) }()
	for deadline := time.Now().Add(30 * time.Second); p.Ready() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(p.Ready())
		}
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// Stop stops it; Start on its Dir goes on with what is there.
func (p *Plane) Stop() error {
	if p.stop == nil {
		return nil
	}
	p.Gate.Close()
	err := p.server.Close()
	p.stop()
	p.stop = nil
	for range 3 {
		if e := <-p.done; e != nil && !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
	}
	return errors.Join(err, p.close())
}

// Catalog is what packages may use.
func Catalog() *processes.Catalog {
	return &processes.Catalog{Steps: steps.Kinds(), Connectors: all.Registry("test")}
}

// Environment makes an environment.
func (p *Plane) Environment(t testing.TB, name string) cloud.Environment {
	t.Helper()
	e, err := p.CreateEnvironment(t.Context(), p.Admin, cloud.Environment{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Deploy packs one YAML file as a version of a project and deploys it.
func (p *Plane) Deploy(t testing.TB, environment, project, version, text string) (cloud.Package, cloud.Deployment) {
	t.Helper()
	archive, err := wire.Pack([]wire.PackFile{{Name: "project.yaml", Content: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	x, err := p.CreatePackage(t.Context(), p.Admin, cloud.Upload{Archive: archive, Project: project, Version: version})
	if err != nil {
		t.Fatal(err)
	}
	d, err := p.Service.Deploy(t.Context(), p.Admin, cloud.Deployment{PackageID: x.ID, EnvironmentID: environment})
	if err != nil {
		t.Fatal(err)
	}
	return x, d
}

// InstallToken makes an install token for an environment.
func (p *Plane) InstallToken(t testing.TB, environment string) string {
	t.Helper()
	token, err := p.CreateInstallToken(t.Context(), p.Admin, environment, 0)
	if err != nil {
		t.Fatal(err)
	}
	return token.Token
}

// Ruled holds that each of an API's routes has a rule in its test, and an
// action that some role may take.
func Ruled[R any](t *testing.T, routes map[string]cloud.Action, rules map[string]R) {
	t.Helper()
	for name, action := range routes {
		if _, ok := rules[name]; !ok {
			t.Errorf("%s has no rule in this test", name)
		}
		if _, ok := cloud.Least(action); !ok {
			t.Errorf("%s takes the action %q, which has no role", name, action)
		}
	}
	if len(routes) != len(rules) {
		t.Errorf("there are %d endpoints, and %d rules", len(routes), len(rules))
	}
}
