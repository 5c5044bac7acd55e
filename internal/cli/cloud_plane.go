package cli

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"valence/cloud"
	cloudconsole "valence/cloud/console"
	"valence/cloud/gate"
	"valence/cloud/operator"
	"valence/cloud/platform"
	"valence/cloud/store"
	"valence/internal/console"
	"valence/internal/listener"
	"valence/internal/metrics"
	"valence/internal/sqlitedb"
)

// The files of a control plane's data folder, beside its store.
const (
	cloudTokenFile   = console.TokenFile
	cloudKeyFile     = "secrets.key"
	cloudAddressFile = "cloud.json"
)

// cloudAddress is what cloudAddressFile holds while a control plane runs.
type cloudAddress struct {
	PID int    `json:"pid"`
	URL string `json:"url"`
}

// plane is a control plane with everything around it.
type plane struct {
	o       *cloudRunCmd
	log     *slog.Logger
	metrics *metrics.Cloud
	store   planeStore
	service *cloud.Service
	gate    *gate.Gate
	parts   *parts
	address cloudAddress
	first   bool // nobody has used the data folder before

	database string // that it shares with others; "": everything is in the data folder
}

// planeStore is a store as it is run here.
type planeStore interface {
	cloud.Store
	Run(ctx context.Context) error
	Close() error
}

// openPlane opens the data folder. Nothing runs yet.
func openPlane(o *cloudRunCmd, log *slog.Logger) (*plane, error) {
	if err := makeDataFolder(o.Data); err != nil {
		return nil, err
	}
	if why := exposed(o.Data, cloudKeyFile, cloudTokenFile); why != "" {
		log.Warn(why)
	}
	p := &plane{o: o, log: log, metrics: metrics.NewCloud(), parts: newParts()}
	p.metrics.Version(version)
	if o.Store != "" {
		return p, p.openShared()
	}
	st, err := store.Open(o.Data, store.Options{Log: log, OnCommit: p.metrics.Commit})
	if locked := (*sqlitedb.LockedError)(nil); errors.As(err, &locked) {
		return nil, failed("stop that one, or --data DIR with another folder", "another control plane runs on the data folder: %v", locked)
	}
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return nil, notOwner(o.Data)
		}
		return nil, failed("--data DIR with another folder, or a backup", "the data folder %s cannot be opened: %v", o.Data, err)
	}
	p.store = st
	return p, nil
}

// start opens the door once everything behind it is there.
func (p *plane) start(ctx context.Context) error {
	p.parts.start("store", p.store.Run)
	key, err := p.key(ctx)
	if err != nil {
		return err
	}
	p.service, err = cloud.New(ctx, p.store, cloud.Options{
		Key: key, Catalog: catalog(), Log: p.log, Metrics: p.metrics, Retention: p.o.Retention, Rate: p.o.Rate,
	})
	if err != nil && p.database != "" {
		return failed("the log of the database", "%v", err)
	}
	if err != nil {
		return failed("--data DIR with another folder, or a backup", "%v", err)
	}
	if lost := p.service.Unreadable(); len(lost) > 0 {
		p.log.Error("secrets cannot be read with "+cloudKeyFile+", so the atoms of their environments get nothing new: stop, and put the copy of that file in place, or set them anew with valence cloud secret", "secrets", lost)
	}
	p.metrics.OnScrape(p.service.Fleet)
	if err := p.token(ctx); err != nil {
		return err
	}
	p.gate = gate.New(p.service, gate.Options{Log: p.log, Metrics: p.metrics})
	p.parts.start("service", p.service.Run)
	ln, err := p.listen()
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler: p.handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug), ConnContext: p.gate.Link, ConnState: p.gate.Unlink,
	}
	srv.RegisterOnShutdown(p.gate.Close) // polls that are held must not hold it up
	srv.RegisterOnShutdown(p.service.Leave)
	p.parts.start("server", func(ctx context.Context) error { return serveUntil(ctx, srv, ln) })
	text, err := json.Marshal(p.address)
	if err != nil {
		return err
	}
	if err := writeWhole(filepath.Join(p.o.Data, cloudAddressFile), append(text, '\n'), 0o644); err != nil {
		return failed("--data DIR with a folder that can be written to", "%v", err)
	}
	return nil
}

// keyFile names the file with the key of the secrets.
func (p *plane) keyFile() string {
	if p.o.SecretsKey != "" {
		return p.o.SecretsKey
	}
	return filepath.Join(p.o.Data, cloudKeyFile)
}

// key gives the key of the secrets. The first call makes it, unless other
// control planes have one already.
func (p *plane) key(ctx context.Context) ([]byte, error) {
	if shared, ok := p.store.(*sharedStore); ok {
		return shared.key(ctx, p.keyFile())
	}
	return cloudKey(p.keyFile())
}

// cloudKey gives the key that is in a file. The first call makes it.
func cloudKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	switch {
	case err == nil && len(key) == cloud.KeyBytes:
		return key, nil
	case err == nil:
		return nil, failed("your copy of it", "%s is damaged: it holds %d bytes instead of %d", path, len(key), cloud.KeyBytes)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, failed("--data DIR with a folder that can be read", "%v", err)
	}
	key = make([]byte, cloud.KeyBytes)
	rand.Read(key) // never fails: crypto/rand
	if err := writeWhole(path, key, 0o600); err != nil {
		return nil, failed("--data DIR with a folder that can be written to", "%v", err)
	}
	return key, nil
}

// token sees to it that the data folder has an admin's token. Where the file
// is gone, whoever has the folder gets another one.
func (p *plane) token(ctx context.Context) error {
	path := filepath.Join(p.o.Data, cloudTokenFile)
	token, err := p.service.Bootstrap(ctx)
	p.first = token != ""
	if _, missing := os.Stat(path); err == nil && token == "" && errors.Is(missing, fs.ErrNotExist) && p.keyIsHere() {
		token, err = p.service.RenewAdmin(ctx)
	}
	if err != nil {
		return failed("the log", "%v", err)
	}
	if token == "" {
		return nil
	}
	if err := writeWhole(path, []byte(token+"\n"), 0o600); err != nil {
		return failed("--data DIR with a folder that can be written to", "%v", err)
	}
	return nil
}

// keyIsHere reports whether who has the data folder has the key of the secrets,
// and so may have an admin's token: a folder that holds neither is one of many
// that come and go.
func (p *plane) keyIsHere() bool {
	_, err := os.Stat(filepath.Join(p.o.Data, cloudKeyFile))
	return p.database == "" || err == nil
}

// listen opens the address, with TLS unless only this machine can reach it.
func (p *plane) listen() (net.Listener, error) {
	ln, err := net.Listen("tcp", p.o.Listen)
	if err != nil {
		return nil, addressError("--listen", p.o.Listen, err)
	}
	secure := p.o.TLSCert != ""
	if console.Allowed(ln.Addr(), secure, p.o.BeyondWithout) != nil {
		ln.Close()
		return nil, usage("--listen 127.0.0.1:9092, or --tls-cert and --tls-key, or --beyond-loopback-without-tls",
			"the control plane would be reachable from other machines without TLS")
	}
	p.address = cloudAddress{os.Getpid(), "http://" + reachable(ln.Addr().String())}
	if !secure {
		return ln, nil
	}
	certificate, err := listener.Reloading(listener.Certificate{Cert: p.o.TLSCert, Key: p.o.TLSKey}, p.log)
	if err != nil {
		ln.Close()
		return nil, failed("--tls-cert and --tls-key with PEM files that belong together", "%v", err)
	}
	p.address.URL = "https://" + reachable(ln.Addr().String())
	// Only HTTP/1.1: an atom holds one request, for which a connection of HTTP/2
	// would only cost more memory.
	return tls.NewListener(ln, &tls.Config{GetCertificate: certificate, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}), nil
}

// handler is everything that is answered.
func (p *plane) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/atom/v1/", p.gate)
	// A browser keeps what was typed for basic authentication, and sends it with what another site has it post.
	own := http.NewCrossOriginProtection()
	mux.Handle(operator.Root, own.Handler(operator.New(p.service, p.log)))
	mux.Handle("GET /metrics", p.asked(p.metrics.Handler()))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := p.service.Ready(); err != nil {
			http.Error(w, "the store takes nothing now", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	api := own.Handler(platform.New(platform.Options{Service: p.service, Log: p.log}))
	mux.Handle("/", cloudconsole.New(cloudconsole.Options{Service: p.service, Version: version, Log: p.log}))
	return secured(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if platform.Serves(r.URL.Path) { // before the mux, which sends doubled slashes elsewhere
			api.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
}

// asked lets a request through that brings an API token of the default
// account that is not limited to environments: what is counted is about all.
func (p *plane) asked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if who, err := p.service.Recognize(cloud.DefaultAccount, "", strings.TrimSpace(token)); err != nil || len(who.Environments) > 0 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="valence cloud"`)
			http.Error(w, "Send an API token of the account "+cloud.DefaultAccount+", not limited to environments, as Authorization: Bearer …", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// How long others than atoms, whose gate sees to it itself, may take to send a
// request and to take the answer.
const (
	callReadTime  = 5 * time.Minute
	callWriteTime = 10 * time.Minute
)

// secured keeps what is answered from being read as something else.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/atom/") {
			control := http.NewResponseController(w)
			_ = control.SetReadDeadline(time.Now().Add(callReadTime)) // this server can
			_ = control.SetWriteDeadline(time.Now().Add(callWriteTime))
		}
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}

// finish stops everything, closes the data folder and gives the first thing
// that went wrong.
func (p *plane) finish(err error) error {
	path := filepath.Join(p.o.Data, cloudAddressFile)
	if running, ok := readCloudAddress(p.o.Data); ok && running.PID == os.Getpid() {
		if err := os.Remove(path); err != nil {
			p.log.Warn("where this control plane answered is still written down", "error", err)
		}
	}
	if p.gate != nil {
		p.gate.Close()
	}
	if stopErr := errors.Join(p.parts.stop(), p.store.Close()); err == nil && stopErr != nil {
		return failed("the log", "%v", stopErr)
	}
	return err
}

func readCloudAddress(folder string) (a cloudAddress, ok bool) {
	text, err := os.ReadFile(filepath.Join(folder, cloudAddressFile))
	return a, err == nil && json.Unmarshal(text, &a) == nil
}
