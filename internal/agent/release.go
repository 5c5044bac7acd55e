package agent

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"valence/atom"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/wire"
	"valence/processes"
)

// version is what is deployed, checked and with its values.
type version struct {
	desired  *wire.Desired
	broken   string            // why projects of the generation do not run at all; "" if all do
	releases []atom.Release    // the local project, then one for each deployment
	print    string            // of everything in it
	names    map[string]string // projects of the processes that come from packages
	serials  map[string]int64
}

func (a *Agent) packagePath(id string) string {
	return filepath.Join(a.o.Data, Folder, "packages", id+".tar")
}

// ensure makes sure that a deployment's package is in the data folder, whole,
// and what its name says.
func (a *Agent) ensure(ctx context.Context, d wire.Deployment) error {
	if !wire.IsPackageID(d.Package) {
		return never("the package %q is not named by a SHA-256", d.Package)
	}
	if _, err := a.archive(d.Package); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		a.log.Warn("a stored package is damaged; it is fetched again", "package", d.Package, "error", err)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	archive, err := a.link.fetch(ctx, wire.PathPackages+d.Package, wire.PackType, wire.MaxPackBytes)
	if err != nil {
		if r := (*Refused)(nil); errors.As(err, &r) && r.ours() && r.Status == 404 {
			return never("the package %s of %s is not there: %w", d.Package[:12], d.Project, err)
		}
		return fmt.Errorf("fetch the package of %s: %w", d.Project, err)
	}
	if wire.PackageID(archive) != d.Package {
		return fmt.Errorf("%w: that of %s came as %s in place of %s", errAltered, d.Project, wire.PackageID(archive)[:12], d.Package[:12])
	}
	if _, err := wire.Unpack(archive); err != nil {
		return &permanent{err}
	}
	if err := os.MkdirAll(filepath.Dir(a.packagePath(d.Package)), 0o700); err != nil {
		return err
	}
	return writeWhole(a.packagePath(d.Package), archive)
}

// archive reads a stored package. What was altered is not given.
func (a *Agent) archive(id string) ([]byte, error) {
	archive, err := os.ReadFile(a.packagePath(id))
	if err != nil {
		return nil, err
	}
	if wire.PackageID(archive) != id {
		return nil, fmt.Errorf("%w where it is stored: %s", errAltered, a.packagePath(id))
	}
	return archive, nil
}

var errAltered = errors.New("a package was altered")

// clean removes packages that nothing deployed needs.
func (a *Agent) clean(s state) {
	keep := map[string]bool{}
	for _, d := range []*wire.Desired{s.Desired, s.Wanted, s.Previous} {
		if d != nil {
			for _, x := range d.Deployments {
				keep[x.Package+".tar"] = true
			}
		}
	}
	folder := filepath.Dir(a.packagePath(""))
	entries, err := os.ReadDir(folder)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !keep[e.Name()] {
			if err := os.Remove(filepath.Join(folder, e.Name())); err != nil {
				a.log.Warn("an old package could not be removed", "error", err)
			}
		}
	}
}

// compose loads the local project and everything that is deployed, each as a
// project of its own, and finds their values. A package's files are named below
// the name of its project. Serials are those that a publisher must not fall
// behind; nil: of what ran already, none is looked at.
func (a *Agent) compose(d *wire.Desired, local []processes.File, serials map[string]int64) (*version, error) {
	if d == nil {
		d = &wire.Desired{}
	}
	v := &version{desired: d, names: map[string]string{}, serials: maps.Clone(serials)}
	if err := a.load(v, nil, local); err != nil {
		return nil, err
	}
	all := slices.SortedFunc(slices.Values(d.Deployments), func(x, y wire.Deployment) int { return strings.Compare(x.Project, y.Project) })
	for i := range all { // in an order of their own: the same ones are the same version
		x := &all[i]
		if i > 0 && all[i-1].Project == x.Project {
			return nil, never("the project %s is deployed twice", x.Project)
		}
		o, files, err := a.unpack(x)
		if err != nil {
			return nil, err
		}
		if len(a.publishers) > 0 {
			if err := a.vouched(o, d.Environment, serials, v); err != nil {
				return nil, err
			}
		}
		if err := a.load(v, o, files); err != nil {
			return nil, err
		}
	}
	v.print = printOf(v)
	return v, nil
}

// load adds a project to a version; without an owner it is the local one.
func (a *Agent) load(v *version, o *owner, files []processes.File) error {
	project, problems := processes.Load(files, a.o.Catalog)
	if problems.HasErrors() {
		return never("it has errors:\n%v", onlyErrors(problems))
	}
	r := atom.Release{Project: project, Files: files}
	if o != nil {
		r.Name = o.Project
		for name := range project.Processes {
			v.names[name] = o.Project
		}
	}
	if err := a.values(&r, v.desired, o); err != nil {
		return err
	}
	v.releases = append(v.releases, r)
	return nil
}

// owner is the deployment that a project came with.
type owner struct {
	*wire.Deployment
	statement *wire.Statement // of its publisher; nil: none is needed
}

func (a *Agent) unpack(d *wire.Deployment) (*owner, []processes.File, error) {
	if d.Project == "" || strings.ContainsAny(d.Project, "/\\") || strings.HasPrefix(d.Project, ".") {
		return nil, nil, never("%q is no name of a project", d.Project)
	}
	archive, err := a.archive(d.Package)
	if err != nil {
		return nil, nil, err
	}
	packed, err := wire.Unpack(archive)
	if err != nil {
		return nil, nil, &permanent{err}
	}
	files := make([]processes.File, len(packed))
	for i, f := range packed {
		files[i] = processes.File{Name: d.Project + "/" + f.Name, Content: f.Content}
	}
	return &owner{Deployment: d}, files, nil
}

// values finds what a project reads of its environment: what the control
// plane gives, then the environment: component, then the machine. A local
// project's values come from the machine first.
func (a *Agent) values(r *atom.Release, d *wire.Desired, o *owner) error {
	r.Env, r.Secrets, r.Connections = map[string]string{}, map[string]string{}, map[string]*document.Object{}
	name := a.o.Environment
	if name == "" {
		name = d.Environment
	}
	if name != "" {
		r.Environment = r.Project.Environments[name]
	}
	if r.Environment != nil {
		maps.Copy(r.Env, r.Environment.Values)
	}
	var missing []string
	for _, need := range r.Project.Needs() {
		value, why, err := a.value(d, need, r.Environment, o)
		if err != nil {
			return err
		}
		switch {
		case why != "":
			missing = append(missing, fmt.Sprintf("%s %s, used at %s: %s", need.Kind, need.Name, need.Pos, why))
		case need.Kind == "secret":
			r.Secrets[need.Name] = value
		default:
			r.Env[need.Name] = value
		}
	}
	if len(missing) > 0 {
		sort.Strings(missing)
		return never("values are missing that it needs; set them for the environment (valence cloud value, valence cloud secret), or on the machine:\n%s", strings.Join(slices.Compact(missing), "\n"))
	}
	return a.overrides(r, d, o)
}

// value finds one value. err is set where a publisher forbids the one that the
// control plane gives.
func (a *Agent) value(d *wire.Desired, need processes.Need, e *processes.Environment, o *owner) (value, why string, err error) {
	given, there, err := a.given(d, need)
	if err != nil {
		return "", "", err
	}
	if o == nil && there {
		if value, why := a.o.Value(need, e); why == "" || len(a.publishers) > 0 {
			return value, why, nil
		}
		return given, "", nil
	}
	if there {
		if o.statement != nil {
			if err := allowed(o, need.Kind+"."+need.Name, given); err != nil {
				return "", "", err
			}
		}
		return given, "", nil
	}
	value, why = a.o.Value(need, e)
	return value, why, nil
}

// given finds a value of the control plane, and opens it where it is sealed.
func (a *Agent) given(d *wire.Desired, need processes.Need) (value string, there bool, err error) {
	if need.Kind != "secret" {
		value, there = d.Values[need.Name]
		return value, there, nil
	}
	sealed, there := d.Secrets[need.Name]
	if !there {
		return "", false, nil
	}
	key, err := ecdh.X25519().NewPrivateKey(a.id.SealKey)
	if err != nil {
		return "", false, &permanent{err}
	}
	if value, err = wire.Open(key, a.id.Atom, need.Name, sealed); err != nil {
		return "", false, never("the secret %s was not sealed for this atom", need.Name)
	}
	return value, true, nil
}

// overrides reads the settings that the control plane gives to connections, in
// every project that has one of the name.
func (a *Agent) overrides(r *atom.Release, d *wire.Desired, o *owner) error {
	if len(bytes.TrimSpace(d.Connections)) == 0 || string(d.Connections) == "null" {
		return nil
	}
	if err := convert.CheckJSON(d.Connections); err != nil {
		return never("the settings of connections cannot be read: %w", err)
	}
	all, ok := document.Decode(document.Parse(string(d.Connections))).(*document.Object)
	if !ok {
		return never("the settings of connections are not an object")
	}
	for _, name := range all.Keys() {
		if r.Project.Connections[name] == nil {
			continue // of another project
		}
		raw, _ := all.Get(name)
		settings, ok := document.Decode(raw).(*document.Object)
		if !ok {
			return never("the settings of the connection %s are not an object", name)
		}
		if o == nil && len(a.publishers) > 0 {
			return never("the control plane may not change the connection %s of the local project", name)
		}
		if o != nil && o.statement != nil {
			for i := range settings.Len() {
				key, value := settings.At(i)
				if err := allowed(o, "connection."+name+"."+key, string(document.AppendJSON(nil, value))); err != nil {
					return err
				}
			}
		}
		r.Connections[name] = settings
	}
	return nil
}

// printOf names a version by everything that is in it.
func printOf(v *version) string {
	h := sha256.New()
	for _, r := range v.releases {
		fmt.Fprintf(h, "%q %d ", r.Name, len(r.Files))
		for _, f := range r.Files {
			fmt.Fprintf(h, "%q %d ", f.Name, len(f.Content))
			h.Write(f.Content)
		}
		environment := ""
		if r.Environment != nil {
			environment = r.Environment.Name
		}
		connections := map[string]string{}
		for name, o := range r.Connections {
			connections[name] = string(document.AppendJSON(nil, o))
		}
		text, err := json.Marshal([]any{environment, r.Env, r.Secrets, connections})
		if err != nil {
			return "" // texts only: it cannot be
		}
		h.Write(text)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func onlyErrors(all fault.Problems) fault.Problems {
	var errs fault.Problems
	for _, p := range all {
		if p.Severity == fault.Error && len(errs) < 20 {
			errs = append(errs, p)
		}
	}
	return errs
}
