package cloud

import (
	"context"
	"errors"
	"fmt"
	"time"

	"valence/internal/budget"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
	"valence/processes/loader"
)

// Quotas limit the share of one account in a control plane; 0 is unlimited.
type Quotas struct {
	Packages      int   // stored packages
	PackageBytes  int64 // of stored packages; packages with the same content count once
	PackageValues int   // YAML values of one package, see loader.Limits
	Atoms         int   // enrolled and not retired
	Waiting       int   // execution requests and commands that atoms have not received
}

// DefaultQuotas returns the quotas of a control plane that sets no others.
func DefaultQuotas() Quotas {
	return Quotas{Packages: 5_000, PackageBytes: 10 << 30, PackageValues: 1_000_000, Atoms: 10_000, Waiting: 100_000}
}

// Usage is the part of its quotas that an account uses.
type Usage struct {
	Packages     int
	PackageBytes int64
	Atoms        int
	Waiting      int
}

// Quotas returns the quotas of every account.
func (s *Accounts) Quotas() Quotas { return *s.o.Quotas }

// Usage returns the usage of an account.
func (s *Accounts) Usage(_ context.Context, p Principal, account string) (Usage, error) {
	if err := p.Allow("account.read"); err != nil {
		return Usage{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.usage(account), nil
}

// usage returns the usage of an account. The caller holds the lock of the state.
func (s *core) usage(account string) Usage {
	var u Usage
	counted := map[string]bool{}
	for _, x := range s.state.packages {
		if x.Account != account {
			continue
		}
		u.Packages++
		if !counted[x.SHA256] {
			counted[x.SHA256] = true
			u.PackageBytes += x.Size
		}
	}
	for _, a := range s.state.atoms {
		if a.Account != account || a.Revoked {
			continue
		}
		if !a.Retired {
			u.Atoms++
		}
	}
	u.Waiting = int(s.mailboxes.total(account).Load())
	return u
}

// overQuota returns the error of an account that has reached a quota.
func overQuota(kind error, quota, has, instead, option string) error {
	return &Error{kind, fmt.Sprintf("quota %s: the account has %s: %s, or raise %s of the control plane", quota, has, instead, option)}
}

// checkPackageQuota returns an error if an account may not store another
// package. A package whose content the account has already adds no bytes. The
// caller holds the write lock.
func (s *core) checkPackageQuota(account, sha string, size int64) error {
	q := s.o.Quotas
	if q.Packages <= 0 && q.PackageBytes <= 0 {
		return nil
	}
	s.mu.RLock()
	u := s.usage(account)
	for _, x := range s.state.packages {
		if x.Account == account && x.SHA256 == sha {
			size = 0
			break
		}
	}
	s.mu.RUnlock()
	if q.Packages > 0 && u.Packages >= q.Packages {
		return overQuota(ErrConflict, "packages", fmt.Sprintf("%d packages, the maximum", u.Packages), "delete packages that are not deployed", "--max-packages")
	}
	if q.PackageBytes > 0 && u.PackageBytes+size > q.PackageBytes {
		return overQuota(ErrConflict, "package bytes", fmt.Sprintf("packages of %s, and with this one they would exceed %s", spec.FormatSize(u.PackageBytes), spec.FormatSize(q.PackageBytes)),
			"delete packages that are not deployed", "--max-package-bytes")
	}
	return nil
}

// checkAtomQuota returns an error if an account may not enroll another atom.
// The caller holds the write lock.
func (s *core) checkAtomQuota(account string) error {
	if s.o.Quotas.Atoms <= 0 {
		return nil
	}
	s.mu.RLock()
	n := s.usage(account).Atoms
	s.mu.RUnlock()
	if n < s.o.Quotas.Atoms {
		return nil
	}
	return overQuota(ErrConflict, "atoms", fmt.Sprintf("%d atoms, the maximum", n), "retire atoms that are not used", "--max-atoms")
}

// checkWaitingQuota returns an error if atoms of an account may not be sent
// further requests.
func (s *core) checkWaitingQuota(account string) error {
	if s.o.Quotas.Waiting <= 0 {
		return nil
	}
	n := int(s.mailboxes.total(account).Load())
	if n < s.o.Quotas.Waiting {
		return nil
	}
	return overQuota(ErrQuota, "waiting requests", fmt.Sprintf("%d requests that its atoms have not received, the maximum", n), "wait until they poll, revoke atoms that are gone", "--max-waiting-requests")
}

// lintTime limits the check of one package. Packages of any sensible size need
// less than a second.
const lintTime = 20 * time.Second

// lint checks the files of a package within the budget of memory that all
// checks share.
func (s *core) lint(ctx context.Context, files []processes.File) (*processes.Project, fault.Problems, error) {
	ctx, cancel := context.WithTimeout(ctx, lintTime)
	defer cancel()
	var share budget.Share
	share.Open(s.lintMemory)
	defer share.Close()
	project, problems, err := loader.LoadWithin(ctx, files, s.o.Catalog, loader.Limits{Values: s.o.Quotas.PackageValues, Memory: &share})
	var many *loader.TooManyValuesError
	switch {
	case errors.As(err, &many):
		return nil, nil, invalid("", "quota package values: %v: split the project, or raise --max-package-values of the control plane", many)
	case errors.Is(err, budget.ErrTooLarge):
		return nil, nil, invalid("", "the check of this package needs more memory than the control plane uses for checks: split the project")
	case errors.Is(err, budget.ErrBusy):
		return nil, nil, &Error{ErrBusy, "the control plane is checking other packages: retry later"}
	case errors.Is(err, context.DeadlineExceeded):
		return nil, nil, invalid("", "the check of this package took longer than %v: split the project", lintTime)
	}
	return project, problems, err
}
