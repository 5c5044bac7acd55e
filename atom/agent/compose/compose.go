// Package compose turns packages, values and a local project into releases that
// an atom can deploy.
package compose

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"valence/atom"
	"valence/atom/agent/cloudclient"
	"valence/internal/access"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/wire"
	"valence/processes"
	"valence/processes/loader"
)

// Options configure a Composer.
type Options struct {
	Data        string // the data folder
	Folder      string // the agent's folder in it
	Identity    *cloudclient.Identity
	Client      *cloudclient.Client
	Catalog     *processes.Catalog
	Environment string // as in agent.Options
	Value       func(need processes.Need, e *processes.Environment, policy *access.Policy) (value, why string)
	Log         *slog.Logger
}

// Composer downloads packages and composes them with values into releases.
type Composer struct {
	o          Options
	publishers []ed25519.PublicKey
}

// New returns a Composer. It fails if a publisher's key is invalid.
func New(o Options) (*Composer, error) {
	keys, err := o.Identity.PublisherKeys()
	if err != nil {
		return nil, err
	}
	return &Composer{o, keys}, nil
}

// Composition is a generation that has been checked and is ready to deploy.
type Composition struct {
	Desired   *wire.Desired
	Failure   string            // why some projects cannot run; "" if all can
	Releases  []atom.Release    // the local project, then one per deployment
	Digest    string            // identifies the contents
	ProjectOf map[string]string // project of each process from a package
	Serials   map[string]int64
}

// Compose loads the local project and each deployment as a separate project and
// resolves their values. File names of a package are prefixed with its project.
// serials are the lowest acceptable serials of publishers' statements; nil
// disables the check for what already ran. The policy of the atom is read each
// time.
func (c *Composer) Compose(d *wire.Desired, local []processes.File, serials map[string]int64) (*Composition, error) {
	if d == nil {
		d = &wire.Desired{}
	}
	policy, err := access.Local(c.o.Data)
	if err != nil {
		return nil, err
	}
	v := &Composition{Desired: d, ProjectOf: map[string]string{}, Serials: maps.Clone(serials)}
	if err := c.addProject(v, nil, local, policy); err != nil {
		return nil, err
	}
	all := slices.SortedFunc(slices.Values(d.Deployments), func(x, y wire.Deployment) int { return strings.Compare(x.Project, y.Project) })
	if len(all) > 0 {
		if policy, err = access.Deployed(c.o.Data, c.o.Catalog.ConnectorNames()...); err != nil {
			return nil, Permanentf("the policy of this atom cannot be used, so it runs no packages: %w", err)
		}
	}
	for i := range all { // sorted, so that the digest does not depend on the order
		x := &all[i]
		if i > 0 && all[i-1].Project == x.Project {
			return nil, Permanentf("the project %s is deployed twice", x.Project)
		}
		o, files, err := c.unpackDeployment(x)
		if err != nil {
			return nil, err
		}
		if len(c.publishers) > 0 {
			if err := c.checkStatement(o, d.Environment, serials, v); err != nil {
				return nil, err
			}
		}
		if err := c.addProject(v, o, files, policy); err != nil {
			return nil, err
		}
	}
	v.Digest = digestOf(v)
	return v, nil
}

// addProject adds a project to a composition. Without a source it is the local
// one.
func (c *Composer) addProject(v *Composition, o *source, files []processes.File, policy *access.Policy) error {
	project, problems := loader.Load(files, c.o.Catalog)
	if problems.HasErrors() {
		return Permanentf("it has errors:\n%v", onlyErrors(problems))
	}
	r := atom.Release{Project: project, Files: files, Policy: policy}
	if o != nil {
		r.Name = o.Project
		for name := range project.Processes {
			v.ProjectOf[name] = o.Project
		}
	}
	if err := c.resolveValues(&r, v.Desired, o); err != nil {
		return err
	}
	if o != nil && o.statement != nil {
		r.Policy = policy.Signed(o.Project, c.signedHosts(&r, v.Desired, o))
	}
	v.Releases = append(v.Releases, r)
	return nil
}

// source is the deployment of a project.
type source struct {
	*wire.Deployment
	statement *wire.Statement // of its publisher; nil: not required
}

func (c *Composer) unpackDeployment(d *wire.Deployment) (*source, []processes.File, error) {
	if d.Project == "" || strings.ContainsAny(d.Project, "/\\") || strings.HasPrefix(d.Project, ".") {
		return nil, nil, Permanentf("%q is not a valid project name", d.Project)
	}
	archive, err := c.ReadPackage(d.Package)
	if err != nil {
		return nil, nil, err
	}
	packed, err := wire.Unpack(archive)
	if err != nil {
		return nil, nil, &PermanentError{Err: err}
	}
	files := make([]processes.File, len(packed))
	for i, f := range packed {
		files[i] = processes.File{Name: d.Project + "/" + f.Name, Content: f.Content}
	}
	return &source{Deployment: d}, files, nil
}

// digestOf returns a digest of everything in a composition.
func digestOf(v *Composition) string {
	h := sha256.New()
	for _, r := range v.Releases {
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
		text, err := json.Marshal([]any{environment, r.Env, r.Secrets, connections, r.Policy.Identity()})
		if err != nil {
			return "" // only strings: cannot happen
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
