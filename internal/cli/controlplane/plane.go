package controlplane

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"valence/atom/admin"
	"valence/cloud"
	"valence/cloud/gate"
	"valence/cloud/store"
	"valence/internal/atomicfile"
	"valence/internal/cli/project"
	"valence/internal/clierror"
	"valence/internal/datafolder"
	"valence/internal/drain"
	"valence/internal/lifecycle"
	"valence/internal/metrics"
	"valence/internal/servercert"
	"valence/internal/sqlitedb"
	"valence/internal/version"
)

// Files of the data folder besides the store.
const (
	TokenFile = admin.TokenFile // API token of the first admin
	KeyFile   = "secrets.key"   // encrypts the secrets
)

// plane is a control plane with its store and its HTTP server.
type plane struct {
	o        *Command
	log      *slog.Logger
	metrics  *metrics.Cloud
	store    planeStore
	database string // name of the shared database; empty: everything is in the data folder
	service  *cloud.Service
	gate     *gate.Gate
	parts    *lifecycle.Group
	address  datafolder.CloudAddress
	first    bool // the data folder is new

	secretsKey []byte // of the data folder; nil: it is elsewhere
}

// planeStore is a store that runs in this process.
type planeStore interface {
	cloud.Store
	Run(ctx context.Context) error
	Close() error
}

// seeLog is the hint for failures whose details are in the log.
const seeLog = "read the log"

// open opens the data folder. start runs the parts; stopAfter must be called
// even if start is not.
func open(o *Command, log *slog.Logger) (*plane, error) {
	if err := datafolder.Create(o.Data); err != nil {
		return nil, err
	}
	if warning := datafolder.Exposure(o.Data, KeyFile, TokenFile); warning != "" {
		log.Warn(warning)
	}
	p := &plane{o: o, log: log, metrics: metrics.NewCloud(), parts: lifecycle.NewGroup()}
	p.metrics.Version(version.String())
	if o.Store != "" {
		return p, p.openShared()
	}
	so := store.Options{Log: log, OnCommit: p.metrics.Commit, AcceptLoss: o.AcceptLoss}
	if o.SecretsKey == "" {
		so.KeyFile = KeyFile
	}
	st, err := store.Open(o.Data, so)
	if locked := (*sqlitedb.LockedError)(nil); errors.As(err, &locked) {
		return nil, clierror.Failed("stop that one, or --data DIR with another folder", "another control plane uses the data folder: %v", locked)
	}
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return nil, datafolder.NotOwner(o.Data)
		}
		if known := (*clierror.Error)(nil); errors.As(err, &known) {
			return nil, known
		}
		return nil, clierror.Failed("--data DIR with another folder, or with a backup", "cannot open the data folder %s: %v", o.Data, err)
	}
	p.store = st
	if so.KeyFile != "" {
		if p.secretsKey, err = p.ownKey(st); err != nil {
			return nil, errors.Join(err, st.Close())
		}
	}
	return p, nil
}

// start starts the parts. The HTTP server starts last.
func (p *plane) start(ctx context.Context) error {
	p.parts.Start("store", p.store.Run)
	if err := p.openService(ctx); err != nil {
		return err
	}
	if err := p.ensureToken(ctx); err != nil {
		return err
	}
	p.gate = gate.New(p.service, gate.Options{Log: p.log, Metrics: p.metrics})
	p.parts.Start("service", p.service.Run)
	ln, err := p.listen()
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler: drain.Handler(p.handler()), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug), ConnContext: p.gate.Link, ConnState: p.gate.Unlink,
	}
	srv.RegisterOnShutdown(p.gate.Close) // held polls must not delay the shutdown
	srv.RegisterOnShutdown(p.service.PrepareStop)
	p.parts.Start("server", func(ctx context.Context) error { return lifecycle.Serve(ctx, srv, ln) })
	return p.address.Write(p.o.Data)
}

// openService creates the service on the running store.
func (p *plane) openService(ctx context.Context) error {
	key, err := p.key(ctx)
	if err != nil {
		return err
	}
	p.service, err = cloud.New(ctx, p.store, cloud.Options{
		Key: key, Catalog: project.Catalog(), Log: p.log, Metrics: p.metrics, Retention: p.o.Retention, Rate: p.o.Rate, Quotas: p.o.quotas(),
	})
	if err != nil && p.database != "" {
		return clierror.Failed(seeDatabaseLog, "%v", err)
	}
	if err != nil {
		return clierror.Failed("--data DIR with another folder, or with a backup", "%v", err)
	}
	if secrets := p.service.Environments.UnreadableSecrets(); len(secrets) > 0 {
		p.log.Error("cannot decrypt secrets with "+KeyFile+"; their environments' atoms receive no changes. Stop and restore that file, or set the secrets again with valence cloud secret", "secrets", secrets)
	}
	p.metrics.OnScrape(p.service.Metrics)
	return nil
}

// keyFile returns the path of the file with the key of the secrets.
func (p *plane) keyFile() string {
	if p.o.SecretsKey != "" {
		return p.o.SecretsKey
	}
	return filepath.Join(p.o.Data, KeyFile)
}

// key returns the key of the secrets. It is created at the first start, unless
// other control planes of the database have one.
func (p *plane) key(ctx context.Context) ([]byte, error) {
	if shared, ok := p.store.(*sharedStore); ok {
		return shared.key(ctx, p.keyFile())
	}
	if p.secretsKey != nil {
		return p.secretsKey, nil
	}
	return datafolder.Key(p.keyFile(), cloud.KeyBytes)
}

// ownKey reads the key of the data folder, creates it at the first start, and
// records it in the folder's inventory.
func (p *plane) ownKey(st *store.Store) ([]byte, error) {
	if info, err := os.Stat(p.keyFile()); err == nil && info.Size() != cloud.KeyBytes && p.o.AcceptLoss {
		if err := datafolder.SetAside(p.o.Data, KeyFile); err != nil {
			return nil, err
		}
	}
	key, err := datafolder.Key(p.keyFile(), cloud.KeyBytes)
	if err != nil {
		return nil, err
	}
	return key, st.SetKey(KeyFile, key)
}

// ensureToken writes an admin's token to the data folder at the first start,
// and again if the file was removed.
func (p *plane) ensureToken(ctx context.Context) error {
	path := filepath.Join(p.o.Data, TokenFile)
	token, err := p.service.Accounts.Bootstrap(ctx)
	p.first = token != ""
	if _, missing := os.Stat(path); err == nil && token == "" && errors.Is(missing, fs.ErrNotExist) && p.hasKey() {
		token, err = p.service.Accounts.RenewAdmin(ctx)
	}
	if err != nil {
		return clierror.Failed(seeLog, "%v", err)
	}
	if token == "" {
		return nil
	}
	if err := atomicfile.Write(path, []byte(token+"\n"), 0o600); err != nil {
		return clierror.Failed("--data DIR with a writable folder", "%v", err)
	}
	return nil
}

// hasKey reports whether the data folder has the key of the secrets. Only then
// its owner may have an admin's token: data folders of a shared database that
// name the key elsewhere come and go.
func (p *plane) hasKey() bool {
	_, err := os.Stat(filepath.Join(p.o.Data, KeyFile))
	return p.database == "" || err == nil
}

// listen opens the address, with TLS if other machines can reach it.
func (p *plane) listen() (net.Listener, error) {
	ln, err := net.Listen("tcp", p.o.Listen)
	if err != nil {
		return nil, clierror.Listen("--listen", p.o.Listen, err)
	}
	secure := p.o.TLSCert != ""
	if admin.CheckExposure(ln.Addr(), secure, p.o.BeyondWithout) != nil {
		ln.Close()
		return nil, clierror.Usage("--listen 127.0.0.1:9092, or --tls-cert and --tls-key, or --beyond-loopback-without-tls",
			"other machines could reach the control plane without TLS")
	}
	p.address = datafolder.CloudAddress{PID: os.Getpid(), URL: "http://" + lifecycle.LocalAddress(ln.Addr().String())}
	if !secure {
		return ln, nil
	}
	certificate, err := servercert.Open(servercert.Files{Cert: p.o.TLSCert, Key: p.o.TLSKey}, p.log)
	if err != nil {
		ln.Close()
		return nil, clierror.Failed("--tls-cert and --tls-key with PEM files of one key pair", "%v", err)
	}
	p.parts.Start("certificate", certificate.Run)
	p.address.URL = "https://" + lifecycle.LocalAddress(ln.Addr().String())
	// HTTP/1.1 only: an atom has one request at a time, for which an HTTP/2
	// connection would need more memory.
	return tls.NewListener(ln, &tls.Config{GetCertificate: certificate.Get, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}), nil
}

// stopAfter stops all parts after err, closes the data folder, and returns err,
// or the error of the stop if err is nil.
func (p *plane) stopAfter(err error) error {
	if err := datafolder.RemoveCloudAddress(p.o.Data); err != nil {
		p.log.Warn("cannot remove the address file", "error", err)
	}
	if p.gate != nil {
		p.gate.Close()
	}
	if stopErr := errors.Join(p.parts.Stop(), p.store.Close()); err == nil && stopErr != nil {
		return clierror.Failed(seeLog, "%v", stopErr)
	}
	return err
}
