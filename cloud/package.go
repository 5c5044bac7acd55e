package cloud

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"time"

	"valence/internal/wire"
	"valence/processes"
)

// ErrAltered is an archive that is not what its name says: it was changed
// where it is stored.
var ErrAltered = errors.New("the stored package was altered")

// MaxArchive is how large an archive may be, in bytes.
const MaxArchive = wire.MaxPackBytes

// Upload is a version of a project as it comes in.
type Upload struct {
	Archive   []byte
	Project   string
	Version   string
	Notes     string
	Statement []byte // of a publisher; may be nil
	Signature []byte
}

// ProcessID gives the id of a project's process. It is the same in every
// package and for every control plane.
func ProcessID(account, project, process string) string {
	sum := sha256.Sum256([]byte("valence-process-1\n" + account + "\n" + project + "\n" + process))
	return uuid([16]byte(sum[:16]), 8)
}

// CreatePackage stores a version of a project. Storing the same again gives
// what is there; another content under a version that is there is a conflict.
func (s *Service) CreatePackage(ctx context.Context, p Principal, u Upload) (Package, error) {
	if err := p.Allow("package.create"); err != nil {
		return Package{}, err
	}
	x, names, err := s.inspect(&u)
	if err != nil {
		return Package{}, err
	}
	c, err := s.begin(ctx)
	if err != nil {
		return Package{}, err
	}
	defer c.end()
	if err := c.to.PutArchive(ctx, x.SHA256, u.Archive); err != nil {
		return Package{}, unavailable(err)
	}
	return s.addPackage(ctx, c, p, x, names)
}

// inspect reads what is in an archive: its processes and the fields it needs.
func (s *Service) inspect(u *Upload) (*Package, []string, error) {
	if !goodName(u.Project) || strings.ContainsAny(u.Project, `/\`) || strings.HasPrefix(u.Project, ".") { // as atoms have it
		return nil, nil, invalid("project", "is 1 to 200 characters, begins with no dot and holds no slash")
	}
	if err := goodVersion(u.Version); err != nil {
		return nil, nil, err
	}
	files, err := wire.Unpack(u.Archive)
	if err != nil {
		return nil, nil, invalid("", "the package cannot be read: %v", err)
	}
	x := &Package{SHA256: wire.PackageID(u.Archive), Project: u.Project, Version: u.Version, Notes: u.Notes, Size: int64(len(u.Archive)), Statement: u.Statement, Signature: u.Signature}
	if err := checkStatement(u.Statement, u.Signature, x, ""); err != nil {
		return nil, nil, err
	}
	sources := make([]processes.File, len(files))
	for i, f := range files {
		sources[i] = processes.File{Name: f.Name, Content: f.Content}
	}
	project, problems := processes.Load(sources, s.o.Catalog)
	if problems.HasErrors() {
		return nil, nil, invalid("", "the package has errors that lint finds: %v", problems)
	}
	var names []string
	x.Triggers = map[string]Trigger{}
	for name, p := range project.Processes {
		names = append(names, name)
		switch {
		case p.Listen != nil:
			x.Triggers[name] = Trigger{Kind: TriggerListen}
		case p.Schedule != nil:
			x.Triggers[name] = Trigger{Kind: TriggerSchedule, Cron: p.Schedule.Cron.String(), Zone: p.Schedule.Cron.Place().String()}
		case p.Subscribe != nil:
			x.Triggers[name] = Trigger{Kind: TriggerSubscribe}
		}
	}
	sort.Strings(names)
	for _, need := range project.Needs() {
		x.Needs = append(x.Needs, need.Kind+"."+need.Name)
	}
	slices.Sort(x.Needs)
	x.Needs = slices.Compact(x.Needs)
	return x, names, nil
}

func goodVersion(v string) error {
	if !goodName(v) || len(v) > 100 {
		return invalid("packageVersion", "is 1 to 100 characters")
	}
	return nil
}

// checkStatement holds a publisher's statement against what it is about, so
// that a mistake shows here and not on the atoms. Whether it is signed by
// somebody trusted is for the atoms to say.
func checkStatement(text, signature []byte, x *Package, environment string) error {
	if len(text) == 0 && len(signature) == 0 {
		return nil
	}
	if len(text) == 0 || len(signature) == 0 {
		return invalid("statement", "a publisher's statement and its signature go together")
	}
	st, err := wire.ParseStatement(text)
	switch {
	case err != nil:
		return invalid("statement", "%v", err)
	case st.Package != x.SHA256:
		return invalid("statement", "it is about another package")
	case st.Project != x.Project:
		return invalid("statement", "it is about the project %s", st.Project)
	case environment != "" && st.Environment != environment:
		return invalid("statement", "it is about the environment %s", st.Environment)
	}
	return nil
}

// addPackage writes a package whose archive is stored.
func (s *Service) addPackage(ctx context.Context, c *change, p Principal, x *Package, names []string) (Package, error) {
	for _, other := range s.state.packages {
		if other.Account != p.Account || other.Project != x.Project || other.Version != x.Version {
			continue
		}
		if other.SHA256 != x.SHA256 {
			return Package{}, conflict("%s %s is there with another content; packages never change: choose another version", x.Project, x.Version)
		}
		if len(x.Statement) == 0 || string(x.Statement) == string(other.Statement) {
			return *other, nil
		}
		next := *other // the same package, stated anew
		next.Statement, next.Signature = x.Statement, x.Signature
		c.put(&next)
		c.audit(p, "package.create", next.ID, fmt.Sprintf("another statement for %s %s", x.Project, x.Version))
		return next, s.commit(ctx, c)
	}
	x.ID, x.Account, x.By, x.Created = newID(), p.Account, p.User, time.Now().UTC()
	for _, name := range names {
		id := ProcessID(p.Account, x.Project, name)
		x.Components = append(x.Components, id)
		component := &Component{ID: id, Account: p.Account, Project: x.Project, Name: name, Type: TypeProcess, Created: x.Created}
		if old := s.state.components[id]; old != nil {
			component.Created = old.Created
		}
		component.Version, component.Modified, component.By = x.Version, x.Created, p.User
		c.put(component)
	}
	c.put(x)
	c.audit(p, "package.create", x.ID, fmt.Sprintf("%s %s, %s", x.Project, x.Version, x.SHA256))
	return *x, s.commit(ctx, c)
}

// PackageComponent makes a package from the newest one that holds a component:
// the same content under another version. A version that is there is given as
// it is.
func (s *Service) PackageComponent(ctx context.Context, p Principal, component, version, notes string) (Package, error) {
	if err := p.Allow("package.create"); err != nil {
		return Package{}, err
	}
	c, err := s.begin(ctx)
	if err != nil {
		return Package{}, err
	}
	defer c.end()
	x := owned(s.state.components, component, p.Account, func(c *Component) string { return c.Account })
	if x == nil {
		return Package{}, missing("component", component)
	}
	var newest *Package
	for _, x := range s.state.packages {
		if x.Account != p.Account || !slices.Contains(x.Components, component) {
			continue
		}
		if x.Version == version {
			return *x, nil
		}
		if newest == nil || x.Created.After(newest.Created) {
			newest = x
		}
	}
	if newest == nil {
		return Package{}, missing("package with the component", component)
	}
	if version == "" {
		return *newest, nil
	}
	if err := goodVersion(version); err != nil {
		return Package{}, err
	}
	next := *newest
	next.Version, next.Notes, next.ID, next.By, next.Created = version, notes, newID(), p.User, time.Now().UTC()
	c.put(&next)
	c.audit(p, "package.create", next.ID, fmt.Sprintf("%s %s, %s", next.Project, next.Version, next.SHA256))
	return next, s.commit(ctx, c)
}

// Package gives one.
func (s *Service) Package(_ context.Context, p Principal, id string) (Package, error) {
	if err := p.Allow("package.read"); err != nil {
		return Package{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	x := owned(s.state.packages, id, p.Account, func(x *Package) string { return x.Account })
	if x == nil {
		return Package{}, missing("package", id)
	}
	return *x, nil
}

// Packages lists the account's packages, newest first.
func (s *Service) Packages(_ context.Context, p Principal) ([]Package, error) {
	if err := p.Allow("package.read"); err != nil {
		return nil, err
	}
	return list(s, s.state.packages, func(x *Package) bool { return x.Account == p.Account },
		func(a, b Package) bool { return a.Created.After(b.Created) }), nil
}

// Archive gives the content of a package.
func (s *Service) Archive(ctx context.Context, p Principal, id string) ([]byte, error) {
	if err := p.Allow("package.download"); err != nil {
		return nil, err
	}
	s.mu.RLock()
	x := owned(s.state.packages, id, p.Account, func(x *Package) string { return x.Account })
	s.mu.RUnlock()
	if x == nil {
		return nil, missing("package", id)
	}
	f, err := s.archive(ctx, p, x.SHA256)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// archive opens an archive. That one was altered is for its account to see.
func (s *Service) archive(ctx context.Context, p Principal, sha string) (io.ReadSeekCloser, error) {
	content, err := s.store.Archive(ctx, sha)
	if errors.Is(err, ErrAltered) {
		s.log.Error("a stored package is not what it was", "package", sha)
		s.report(ctx, p, "package_altered", sha)
	}
	return content, err
}

// DeletePackage removes a package that is deployed nowhere, and its archive
// where no other package has it.
func (s *Service) DeletePackage(ctx context.Context, p Principal, id string) error {
	if err := p.Allow("package.delete"); err != nil {
		return err
	}
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	x := owned(s.state.packages, id, p.Account, func(x *Package) string { return x.Account })
	if x == nil {
		return missing("package", id)
	}
	for _, d := range s.state.deployments {
		if d.PackageID != x.ID {
			continue
		}
		switch {
		case !p.in(d.EnvironmentID): // it may be what that environment goes back to
			return &Error{ErrForbidden, fmt.Sprintf("%s %s is, or was, deployed to an environment that this token is not for", x.Project, x.Version)}
		case d.Active:
			return conflict("%s %s is deployed: undeploy it first", x.Project, x.Version)
		}
		c.drop(d)
	}
	c.drop(x)
	c.audit(p, "package.delete", x.ID, fmt.Sprintf("%s %s", x.Project, x.Version))
	last := s.state.archives[x.SHA256] == 1
	if err := s.commit(ctx, c); err != nil || !last {
		return err
	}
	return s.store.DropArchive(ctx, x.SHA256)
}

// Component gives one.
func (s *Service) Component(_ context.Context, p Principal, id string) (Component, error) {
	if err := p.Allow("component.read"); err != nil {
		return Component{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := owned(s.state.components, id, p.Account, func(c *Component) string { return c.Account })
	if c == nil {
		return Component{}, missing("component", id)
	}
	return *c, nil
}

// Components lists the account's components, by name.
func (s *Service) Components(_ context.Context, p Principal) ([]Component, error) {
	if err := p.Allow("component.read"); err != nil {
		return nil, err
	}
	return list(s, s.state.components, func(c *Component) bool { return c.Account == p.Account },
		func(a, b Component) bool { return a.Name < b.Name || a.Name == b.Name && a.ID < b.ID }), nil
}
