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

// Packages holds the packages of projects and the processes in them.
type Packages struct{ *core }

// ErrAltered is returned when the content of a stored archive does not match
// its hash.
var ErrAltered = errors.New("the stored package is damaged")

// MaxArchive is the largest archive, in bytes.
const MaxArchive = wire.MaxPackageBytes

// Upload is an uploaded version of a project.
type Upload struct {
	Archive   []byte
	Project   string
	Version   string
	Notes     string
	Statement []byte // of a publisher; may be nil
	Signature []byte
}

// ProcessID returns the id of a project's process. It is the same in every
// package and in every control plane.
func ProcessID(account, project, process string) string {
	sum := sha256.Sum256([]byte("valence-process-1\n" + account + "\n" + project + "\n" + process))
	return uuid([16]byte(sum[:16]), 8)
}

// Create stores a version of a project. Storing the same content again returns
// the existing package; other content under an existing version is a conflict.
func (s *Packages) Create(ctx context.Context, p Principal, u Upload) (Package, error) {
	if err := p.Allow("package.create"); err != nil {
		return Package{}, err
	}
	x, names, err := s.inspect(ctx, &u)
	if err != nil {
		return Package{}, err
	}
	c, err := s.begin(ctx)
	if err != nil {
		return Package{}, err
	}
	defer c.end()
	if !s.stored(p.Account, x) {
		if err := s.checkPackageQuota(p.Account, x.SHA256, x.Size); err != nil {
			return Package{}, err
		}
	}
	if err := c.writer.PutArchive(ctx, x.SHA256, u.Archive); err != nil {
		return Package{}, unavailable(err)
	}
	return s.add(ctx, c, p, x, names)
}

// stored reports whether the account has this version of the project.
func (s *Packages) stored(account string, x *Package) bool {
	for _, other := range s.state.packages {
		if other.Account == account && other.Project == x.Project && other.Version == x.Version {
			return true
		}
	}
	return false
}

// inspect checks an archive and returns its package and the names of its
// processes.
func (s *Packages) inspect(ctx context.Context, u *Upload) (*Package, []string, error) {
	if !validName(u.Project) || strings.ContainsAny(u.Project, `/\`) || strings.HasPrefix(u.Project, ".") { // the same rule as on atoms
		return nil, nil, invalid("project", "must be 1 to 200 characters without slashes and not start with a dot")
	}
	if err := checkVersion(u.Version); err != nil {
		return nil, nil, err
	}
	files, err := wire.Unpack(u.Archive)
	if err != nil {
		return nil, nil, invalid("", "invalid package: %v", err)
	}
	x := &Package{SHA256: wire.PackageID(u.Archive), Project: u.Project, Version: u.Version, Notes: u.Notes, Size: int64(len(u.Archive)), Statement: u.Statement, Signature: u.Signature}
	if err := checkStatement(u.Statement, u.Signature, x, ""); err != nil {
		return nil, nil, err
	}
	sources := make([]processes.File, len(files))
	for i, f := range files {
		sources[i] = processes.File{Name: f.Name, Content: f.Content}
	}
	project, problems, err := s.lint(ctx, sources)
	if err != nil {
		return nil, nil, err
	}
	if problems.HasErrors() {
		return nil, nil, invalid("", "the package has lint errors: %v", problems)
	}
	var names []string
	x.Triggers = map[string]Trigger{}
	for name, p := range project.Processes {
		names = append(names, name)
		switch {
		case p.Listen != nil:
			x.Triggers[name] = Trigger{Kind: wire.TriggerListen}
		case p.Schedule != nil:
			x.Triggers[name] = Trigger{Kind: wire.TriggerSchedule, Cron: p.Schedule.Cron.String(), Zone: p.Schedule.Cron.Zone().String()}
		case p.Subscribe != nil:
			x.Triggers[name] = Trigger{Kind: wire.TriggerSubscribe}
		}
	}
	sort.Strings(names)
	for _, need := range project.Needs {
		x.Needs = append(x.Needs, need.Kind+"."+need.Name)
	}
	slices.Sort(x.Needs)
	x.Needs = slices.Compact(x.Needs)
	return x, names, nil
}

func checkVersion(v string) error {
	if !validName(v) || len(v) > 100 {
		return invalid("packageVersion", "must be 1 to 100 characters")
	}
	return nil
}

// checkStatement verifies that a publisher's statement matches the package and
// environment, so that mistakes show before atoms refuse it. The atoms verify
// its signature.
func checkStatement(text, signature []byte, x *Package, environment string) error {
	if len(text) == 0 && len(signature) == 0 {
		return nil
	}
	if len(text) == 0 || len(signature) == 0 {
		return invalid("statement", "a publisher's statement needs a signature, and a signature a statement")
	}
	st, err := wire.ParseStatement(text)
	switch {
	case err != nil:
		return invalid("statement", "%v", err)
	case st.Package != x.SHA256:
		return invalid("statement", "is for another package")
	case st.Project != x.Project:
		return invalid("statement", "is for the project %s", st.Project)
	case environment != "" && st.Environment != environment:
		return invalid("statement", "is for the environment %s", st.Environment)
	}
	return nil
}

// add stores a package whose archive is stored.
func (s *Packages) add(ctx context.Context, c *change, p Principal, x *Package, names []string) (Package, error) {
	for _, other := range s.state.packages {
		if other.Account != p.Account || other.Project != x.Project || other.Version != x.Version {
			continue
		}
		if other.SHA256 != x.SHA256 {
			return Package{}, conflict("%s %s already exists with other content, and packages are immutable: choose another version", x.Project, x.Version)
		}
		if len(x.Statement) == 0 || string(x.Statement) == string(other.Statement) {
			return *other, nil
		}
		next := *other // the same package with another statement
		next.Statement, next.Signature = x.Statement, x.Signature
		c.put(&next)
		c.audit(p, "package.create", next.ID, fmt.Sprintf("new statement for %s %s", x.Project, x.Version))
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

// PackageComponent creates a package from the newest one that contains a
// component: the same content under another version. An existing version is
// returned as it is.
func (s *Packages) PackageComponent(ctx context.Context, p Principal, component, version, notes string) (Package, error) {
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
		return Package{}, notFound("component", component)
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
		return Package{}, notFound("package with the component", component)
	}
	if version == "" {
		return *newest, nil
	}
	if err := checkVersion(version); err != nil {
		return Package{}, err
	}
	if err := s.checkPackageQuota(p.Account, newest.SHA256, newest.Size); err != nil {
		return Package{}, err
	}
	next := *newest
	next.Version, next.Notes, next.ID, next.By, next.Created = version, notes, newID(), p.User, time.Now().UTC()
	c.put(&next)
	c.audit(p, "package.create", next.ID, fmt.Sprintf("%s %s, %s", next.Project, next.Version, next.SHA256))
	return next, s.commit(ctx, c)
}

// Get returns the package with an id.
func (s *Packages) Get(_ context.Context, p Principal, id string) (Package, error) {
	if err := p.Allow("package.read"); err != nil {
		return Package{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	x := owned(s.state.packages, id, p.Account, func(x *Package) string { return x.Account })
	if x == nil {
		return Package{}, notFound("package", id)
	}
	return *x, nil
}

// List returns the account's packages, newest first.
func (s *Packages) List(_ context.Context, p Principal) ([]Package, error) {
	if err := p.Allow("package.read"); err != nil {
		return nil, err
	}
	return list(s.core, s.state.packages, func(x *Package) bool { return x.Account == p.Account },
		func(a, b Package) bool { return a.Created.After(b.Created) }), nil
}

// Archive returns the archive of a package.
func (s *Packages) Archive(ctx context.Context, p Principal, id string) ([]byte, error) {
	if err := p.Allow("package.download"); err != nil {
		return nil, err
	}
	s.mu.RLock()
	x := owned(s.state.packages, id, p.Account, func(x *Package) string { return x.Account })
	s.mu.RUnlock()
	if x == nil {
		return nil, notFound("package", id)
	}
	f, err := s.openArchive(ctx, p, x.SHA256)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// openArchive opens an archive. An altered one is reported in the account's
// audit log.
func (s *core) openArchive(ctx context.Context, p Principal, sha string) (io.ReadSeekCloser, error) {
	content, err := s.store.Archive(ctx, sha)
	if errors.Is(err, ErrAltered) {
		s.log.Error("a stored package is damaged", "package", sha)
		s.recordRefusal(ctx, p, wire.CodePackageAltered, sha)
	}
	return content, err
}

// Delete deletes a package that is not deployed, and its archive unless another
// package has it.
func (s *Packages) Delete(ctx context.Context, p Principal, id string) error {
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
		return notFound("package", id)
	}
	for _, d := range s.state.deployments {
		if d.PackageID != x.ID {
			continue
		}
		switch {
		case !p.sees(d.EnvironmentID): // that environment may roll back to it
			return &Error{ErrForbidden, fmt.Sprintf("%s %s is or was deployed to an environment that this token is not limited to", x.Project, x.Version)}
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
	return s.store.DeleteArchive(ctx, x.SHA256)
}

// Component returns the component with an id.
func (s *Packages) Component(_ context.Context, p Principal, id string) (Component, error) {
	if err := p.Allow("component.read"); err != nil {
		return Component{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := owned(s.state.components, id, p.Account, func(c *Component) string { return c.Account })
	if c == nil {
		return Component{}, notFound("component", id)
	}
	return *c, nil
}

// Components returns the account's components, by name.
func (s *Packages) Components(_ context.Context, p Principal) ([]Component, error) {
	if err := p.Allow("component.read"); err != nil {
		return nil, err
	}
	return list(s.core, s.state.components, func(c *Component) bool { return c.Account == p.Account },
		func(a, b Component) bool { return a.Name < b.Name || a.Name == b.Name && a.ID < b.ID }), nil
}
