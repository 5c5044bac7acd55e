// Package cloud is the control plane: accounts and roles, the fleet of atoms,
// packages and deployments, execution requests and their records. It never
// connects to an atom. Package cloud/gate serves the requests of atoms;
// cloud/platform, cloud/operator and cloud/console serve people and programs.
//
// Configuration is small, read all the time and seldom changed, so all of it is
// in memory. A change is written to the store before it becomes visible.
// Requests, instructions, records and the audit log are read from the store.
//
// The package is one unit because its parts share that state: each exported
// type (Accounts, Environments, Packages, Deployments, Replays, Fleet, Triggers,
// Executions, Audit, AtomAPI) is one use case, and Cluster keeps several control
// planes on one database in step.
package cloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"valence/internal/budget"
	"valence/internal/metrics"
	"valence/processes"
)

// Options of a control plane.
type Options struct {
	Key     []byte             // 32 bytes; encrypts secrets in the store
	Catalog *processes.Catalog // the steps and connectors that packages may use
	Log     *slog.Logger
	Metrics *metrics.Cloud
	// Retention of records, requests and audit entries; 0 is 30 days.
	Retention time.Duration
	// Rate limits the API calls per second of each account, and Burst the calls
	// at once; 0 is 100 and 200.
	Rate  float64
	Burst int
	// Quotas limit each account; nil is DefaultQuotas.
	Quotas *Quotas
	// LintMemory limits the memory for checks of uploaded packages together; 0 is
	// a quarter of the memory that the program may use.
	LintMemory int64
}

// Service is a control plane. Its parts are safe for concurrent use. Methods
// that take a Principal check its role and its environments, and changes are
// recorded in the audit log.
type Service struct {
	*core
	Accounts     *Accounts
	Environments *Environments
	Packages     *Packages
	Deployments  *Deployments
	Replays      *Replays
	Fleet        *Fleet
	Triggers     *Triggers
	Executions   *Executions
	Audit        *Audit
	AtomAPI      *AtomAPI
	Cluster      *Cluster // nil if the store belongs to this control plane alone

	stop sync.Once
}

// lintShare is the part of the memory that checks of packages may use by
// default: one of four.
const lintShare = 4

// New returns a control plane and loads its state from the store. It starts no
// goroutine.
func New(ctx context.Context, store Store, o Options) (*Service, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Retention == 0 {
		o.Retention = 30 * 24 * time.Hour
	}
	if o.Catalog == nil {
		return nil, errors.New("a control plane needs a catalog of steps and connectors")
	}
	box, err := newBox(o.Key)
	if err != nil {
		return nil, err
	}
	if o.Quotas == nil {
		quotas := DefaultQuotas()
		o.Quotas = &quotas
	}
	c := &core{lintMemory: budget.NewPool(cmp.Or(o.LintMemory, budget.Machine()/lintShare)), o: o, log: o.Log, store: store, box: box, state: newState(), mailboxes: newMailboxes(), stopping: make(chan struct{})}
	if shared, ok := store.(SharedStore); ok {
		c.cluster = newCluster(c, shared)
	}
	s := &Service{
		core: c, Accounts: &Accounts{core: c, limits: rateLimits{limit: o.Rate, burst: o.Burst}}, Environments: &Environments{c}, Packages: &Packages{c},
		Deployments: &Deployments{c}, Replays: &Replays{c}, Fleet: &Fleet{c}, Triggers: &Triggers{c}, Executions: &Executions{c}, Audit: &Audit{c}, AtomAPI: &AtomAPI{c}, Cluster: c.cluster,
	}
	if err := s.load(ctx); err != nil {
		return nil, fmt.Errorf("load the control plane: %w", err)
	}
	return s, nil
}

func (s *Service) load(ctx context.Context) error {
	if s.cluster != nil {
		return s.cluster.resync(ctx)
	}
	if err := s.store.Load(ctx, s.state.read); err != nil {
		return err
	}
	s.state.reindex()
	s.stateLoaded()
	highest, err := s.store.Undelivered(ctx, func(atom string, id int64) error {
		s.mailboxes.of(atom).add(id)
		return nil
	})
	if err != nil {
		return err
	}
	s.mailboxes.lastID.Store(highest)
	seen, err := s.store.LastSeen(ctx)
	for atom, at := range seen {
		s.mailboxes.of(atom).restoreLastSeen(at)
	}
	return err
}

// Run stores last-seen times, deletes expired data and follows the other control
// planes, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	if s.cluster != nil {
		var cluster sync.WaitGroup
		cluster.Go(func() { s.cluster.run(ctx) })
		defer cluster.Wait()
	}
	(&janitor{s.core}).run(ctx)
	return nil
}

// Ready returns nil while the control plane can serve requests.
func (s *Service) Ready() error {
	if s.cluster != nil && s.cluster.starting.Load() {
		return errors.New("not connected to the other control planes yet")
	}
	return errors.Join(s.store.Err(), s.cluster.CheckFresh())
}

// PrepareStop makes calls that wait for a record return at once, now and from
// now on, with what is stored.
func (s *Service) PrepareStop() { s.stop.Do(func() { close(s.stopping) }) }

// Metrics returns the state of the enrolled atoms and of the instructions that wait
// for them.
func (s *Service) Metrics() metrics.Fleet {
	f := metrics.Fleet{Err: s.store.Err()}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, a := range s.state.atoms {
		if a.Revoked {
			continue
		}
		x := *a
		s.mailboxes.of(a.ID).fillStatus(&x)
		if x.Status == Online {
			f.Online++
		} else {
			f.Offline++
		}
		f.Waiting += x.Waiting
		one := metrics.FleetAtom{Account: a.Account, Name: a.Name, Online: x.Status == Online, Waiting: x.Waiting,
			Backlog: x.Heartbeat.Backlog, Failed: x.Heartbeat.Failed, Dropped: x.Heartbeat.Dropped}
		if e := s.state.environments[s.state.environmentID(a.ID)]; e != nil {
			one.Environment = e.Name
		}
		f.Atoms = append(f.Atoms, one)
	}
	return f
}

// Backup copies everything except the key of the secrets into a new folder on
// the control plane's machine.
func (s *Service) Backup(ctx context.Context, p Principal, folder string) error {
	if err := p.allowAccountWide("backup.create"); err != nil {
		return err
	}
	if p.Account != DefaultAccount {
		return &Error{ErrForbidden, "only admins of the account " + DefaultAccount + " can create backups"}
	}
	switch err := s.store.Backup(ctx, folder); {
	case errors.Is(err, fs.ErrExist):
		return conflict("%s already exists: name a folder that does not exist yet", folder)
	case err != nil:
		return err
	}
	return s.appendAudit(ctx, p, "backup.create", folder, "")
}
