// Package server assembles an atom process from its parts: the store, the
// engine, the web services, the admin API and the control plane's agent.
package server

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"valence/atom"
	"valence/atom/agent"
	"valence/atom/agent/cloudclient"
	"valence/connectors"
	"valence/internal/clierror"
	"valence/internal/datafolder"
	"valence/internal/lifecycle"
	"valence/internal/mask"
	"valence/internal/metrics"
	"valence/internal/sqlitedb"
	"valence/processes"
)

// Options configure an atom process.
type Options struct {
	Data            string // data folder
	Environment     string // environment component with the values; empty: environment variables
	MaxKeptFailures int64  // limit of the failures of waiting callers of one process, in bytes; 0: none
	HistoryMaxBytes int64  // limit of finished executions on disk; 0: none
	AcceptLoss      bool   // start on a data folder that lacks some of its files or records
	Group           GroupOptions
	Web             WebOptions
	Admin           AdminOptions
	Grace           time.Duration // time for running work to finish after a stop

	Version   string
	Catalog   *processes.Catalog    // the steps and connectors that projects may use
	Callbacks *connectors.Connector // delivers reply callbacks
	Log       *slog.Logger
}

// WebOptions configure the web services. Without an Address there are none.
type WebOptions struct {
	Address         string
	PublicURL       string // base of callback URLs; empty: Address
	TLSCert, TLSKey string // PEM files; empty: plain HTTP
	MaxConnections  int    // 0: unlimited

	// MaxConnectionsPerAddress limits the connections of one client address. nil is a quarter of
	// MaxConnections, 0 unlimited.
	MaxConnectionsPerAddress *int

	ShutdownDelay  time.Duration
	AccessLogEvery int // log every n-th successful request; 0: none

	// MaxRequestMemory limits the bodies of all requests together; 0 is a quarter of the memory
	// that the process may use.
	MaxRequestMemory int64
}

// AdminOptions configure the admin API.
type AdminOptions struct {
	Address         string
	TLSCert, TLSKey string // PEM files; empty: plain HTTP
	AllowPlain      bool   // allow plain HTTP beyond loopback
}

// Project is a project that was read from disk.
type Project struct {
	Project *processes.Project
	Files   []processes.File
}

// Server is an atom with its store, web services, admin API and agent.
// Its methods must be called by one goroutine.
type Server struct {
	o       Options
	log     *slog.Logger
	recent  *agent.Recent // the last log lines, for the control plane
	masks   *mask.Set     // of the loaded secrets
	metrics *metrics.Metrics
	store   *backend
	atom    *atom.Atom
	parts   *lifecycle.Group

	certificates sync.Map // *servercert.Certificate by address: listen, admin

	secrets secretFiles
	current *Project // local project that runs; nil: none

	token    string // of the admin API
	address  datafolder.AtomAddress
	agent    *agent.Agent // nil: not enrolled with a control plane
	identity *cloudclient.Identity
}

// Open opens the data folder and assembles the parts. Start runs them; Stop
// must be called even if Start is not.
func Open(o Options) (*Server, error) {
	if err := datafolder.Create(o.Data); err != nil {
		return nil, err
	}
	if warning := datafolder.Exposure(o.Data, KeyFile, filepath.Join(cloudclient.Folder, cloudclient.IdentityFile)); warning != "" {
		o.Log.Warn(warning)
	}
	recent, masks := agent.NewRecent(o.Log.Handler()), &mask.Set{}
	s := &Server{o: o, recent: recent, masks: masks, log: slog.New(mask.Handler(recent, masks)), metrics: metrics.New(), parts: lifecycle.NewGroup()}
	s.metrics.Version(o.Version)
	store, err := s.openBackend()
	if err != nil {
		return nil, err
	}
	s.store, s.token = store, store.token
	s.masks.Add(s.token)
	s.atom = atom.New(atom.Options{
		Store: store.Store, Connectors: o.Catalog.Connectors, Callbacks: o.Callbacks, Key: store.key, Log: s.log, Metrics: s.metrics, Masks: s.masks, Grace: o.Grace, KeptFailures: o.MaxKeptFailures,
	})
	s.metrics.OnScrape(s.storeMetrics)
	s.metrics.OnSubscriptions(s.subscriptionMetrics)
	return s, nil
}

// Start deploys the project and starts the parts. The store runs before
// anything is deployed, and the web services start last, so that no request
// arrives before it can be stored. project may be nil if the data folder is
// enrolled with a control plane.
func (s *Server) Start(project *Project) error {
	if err := s.openAgent(project); err != nil {
		return err
	}
	s.parts.Start("store", s.store.Run)
	if s.agent != nil {
		s.parts.Start("report spool", s.agent.RunSpool)
	}
	if err := s.deployInitial(project); err != nil {
		return err
	}
	admin, err := s.openAdmin()
	if err != nil {
		return err
	}
	s.parts.Start("admin API", admin)
	var web func(context.Context) error
	if s.o.Web.Address != "" {
		if web, err = s.openWeb(); err != nil {
			return err
		}
	}
	if s.agent != nil {
		s.parts.Start("agent", s.agent.Run)
	}
	s.parts.Start("atom", s.atom.Run)
	if web != nil {
		s.parts.Start("web services", web)
	}
	if err := s.awaitReady(); err != nil {
		return err
	}
	return s.address.Write(s.o.Data)
}

// pollReady is how often Start checks the store and the atom.
const pollReady = time.Millisecond

func (s *Server) awaitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for s.atom.Ready() != nil {
		select {
		case err := <-s.parts.Failed():
			return clierror.Failed(seeLog, "%v", err)
		case <-time.After(pollReady):
		case <-ctx.Done():
			return clierror.Failed(seeLog, "the atom did not become ready: %v", s.atom.Ready())
		}
	}
	return nil
}

// seeLog is the hint for failures whose details are in the log.
const seeLog = "read the log"

// Stop stops all parts and closes the data folder.
func (s *Server) Stop() error {
	if err := datafolder.RemoveAtomAddress(s.o.Data); err != nil {
		s.log.Warn("cannot remove the address file", "error", err)
	}
	err := s.parts.Stop()
	if s.agent != nil {
		err = errors.Join(err, s.agent.Close())
	}
	return errors.Join(err, s.store.Close())
}

// StopAfter stops the server after err and returns err, or the error of the
// stop if err is nil.
func (s *Server) StopAfter(err error) error {
	if stopErr := s.Stop(); err == nil && stopErr != nil {
		return clierror.Failed(seeLog, "%v", stopErr)
	}
	return err
}

// Address returns the addresses of the started server.
func (s *Server) Address() datafolder.AtomAddress { return s.address }

// AdminToken returns the token of the admin API.
func (s *Server) AdminToken() string { return s.token }

// Members returns the number of members of the group, this one included; 1
// without a group.
func (s *Server) Members() int { return s.atom.Members() }

// Processes returns the deployed processes.
func (s *Server) Processes() []*atom.DeployedProcess { return s.atom.Processes() }

// Agent returns the atom's identity and its status at the control plane.
// ok is false if the atom is not enrolled.
func (s *Server) Agent() (id *cloudclient.Identity, status agent.Status, ok bool) {
	if s.agent == nil {
		return nil, agent.Status{}, false
	}
	return s.identity, s.agent.Status(), true
}

// OpenError explains why the data folder of an atom cannot be opened.
func OpenError(folder string, err error) error {
	if locked := (*sqlitedb.LockedError)(nil); errors.As(err, &locked) {
		return clierror.Failed("stop that atom, or --data DIR with another folder", "another atom uses the data folder: %v", locked)
	}
	if errors.Is(err, fs.ErrPermission) {
		return datafolder.NotOwner(folder)
	}
	if known := (*clierror.Error)(nil); errors.As(err, &known) {
		return known
	}
	return clierror.Failed("--data DIR with another folder, or with a backup", "cannot open the data folder %s: %v", folder, err)
}

// hostname returns the name of this machine, empty if it has none.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}
