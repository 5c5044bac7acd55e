package cli

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"valence/internal/spec"
	"valence/internal/wire"
	"valence/processes"
)

type deployCmd struct {
	Path string `arg:"" optional:"" default:"." help:"Folder of the project; the current folder by default."`
	planeFlags
	Environment     string        `short:"e" placeholder:"NAME" help:"Environment to deploy to."`
	Project         string        `placeholder:"NAME" help:"Name of the project; that of its project: component, or of its folder, by default."`
	Version         string        `placeholder:"V" help:"Version of the project, such as 1.4.0."`
	Notes           string        `help:"What is new."`
	Paused          bool          `help:"Deploy with its triggers paused."`
	DryRun          bool          `help:"Only tell what would change."`
	Package         string        `placeholder:"SHA256" help:"Deploy a package that is there already, in place of a folder."`
	FromEnvironment string        `placeholder:"NAME" help:"Deploy the package that this environment has."`
	Rollback        bool          `help:"Deploy the package that ran before: the newest that some atom took and kept."`
	Sign            string        `placeholder:"FILE" help:"Private key of a publisher, to sign with."`
	Field           []string      `sep:"none" placeholder:"NAME" help:"With --sign: a field that the environment may set, such as env.SHOP_URL or connection.erp.url. May be given several times."`
	Host            []string      `sep:"none" placeholder:"HOST" help:"With --sign: a host that such a field may lead to. May be given several times."`
	Serial          int64         `placeholder:"N" help:"With --sign: the statement's serial, higher than the last; the time in seconds by default."`
	MakeKey         string        `placeholder:"FILE" help:"Make a publisher's key: FILE holds the private key, FILE.pub the public one for valence join --publisher."`
	Wait            time.Duration `default:"2m" help:"How long to wait for the atoms."`
	JSON            bool          `name:"json" help:"Print JSON."`
}

// Help is shown below the command's summary.
func (*deployCmd) Help() string {
	return `The project is linted, packed, uploaded under its version, deployed to every atom
of the environment, and followed until each has told what became of it. An atom
where it does not start, or fails too often, goes on with the version before.
The exit code is 1 if that happened anywhere. Atoms that are away take it when
they come back.

A package never changes: the same one goes from one environment to the next.

Examples:

    valence deploy orders/ --to https://cloud.example --environment test --version 1.4.0
    valence deploy orders/ --to https://cloud.example --environment test --version 1.4.0 --dry-run
    valence deploy --to https://cloud.example --environment prod --from-environment test --project orders
    valence deploy --to https://cloud.example --environment prod --project orders --rollback
    valence deploy --make-key publisher.key
`
}

// rollout is one deployment that is being made.
type rollout struct {
	c           *deployCmd
	s           *streams
	p           *platformAPI
	environment named
	project     string
	version     string
	pack        packageRef
	archive     []byte // nil: the control plane has it
	loaded      *processes.Project
	stale       map[string]atomResult // by atom: what it told of the same deployment before
}

type named struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Status string `json:"status"`
}

type packageRef struct {
	ID      string `json:"packageId"`
	Version string `json:"packageVersion"`
	SHA256  string `json:"sha256"`
	Project string `json:"project"`
	Created string `json:"createdDate"`
}

type deploymentRef struct {
	ID      string       `json:"deploymentId"`
	Package string       `json:"packageId"`
	Version string       `json:"packageVersion"`
	Active  bool         `json:"active"`
	Asked   string       `json:"listenerStatus"`
	At      time.Time    `json:"deployedDate"`
	Atoms   []atomResult `json:"atomResult"`
}

type atomResult struct {
	Atom   string    `json:"atomId"`
	State  string    `json:"state"`
	Detail string    `json:"detail"`
	At     time.Time `json:"date"`
}

// Run deploys a project.
func (c *deployCmd) Run(s *streams) error {
	if c.MakeKey != "" {
		return makePublisherKey(s, c.MakeKey)
	}
	if err := c.check(); err != nil {
		return err
	}
	p, err := c.planeFlags.open()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r := &rollout{c: c, s: s, p: p}
	if !c.stored() {
		if err := r.read(); err != nil {
			return err
		}
	}
	if err := r.find(ctx); err != nil {
		return err
	}
	if c.DryRun {
		return r.compare(ctx)
	}
	return r.roll(ctx)
}

// stored reports whether a package is deployed that the control plane has.
func (c *deployCmd) stored() bool {
	return c.Package != "" || c.FromEnvironment != "" || c.Rollback
}

func (c *deployCmd) check() error {
	ways := 0
	for _, given := range []bool{c.Package != "", c.FromEnvironment != "", c.Rollback} {
		if given {
			ways++
		}
	}
	switch {
	case c.Environment == "":
		return usage("--environment NAME", "which environment?")
	case ways > 1:
		return usage("one of them", "--package, --from-environment and --rollback exclude each other")
	case ways == 0 && c.Version == "" && !c.DryRun:
		return usage("--version 1.4.0", "which version is this?")
	case c.Rollback && c.Project == "":
		return usage("--project NAME", "which project is to go back?")
	case c.Sign == "" && len(c.Field)+len(c.Host) > 0:
		return usage("--sign FILE", "--field and --host are part of what a publisher signs")
	case c.Wait < 0:
		return usage("--wait 2m", "--wait must not be less than nothing")
	}
	return nil
}

// read lints and packs the project.
func (r *rollout) read() error {
	loaded, err := loadRight([]string{r.c.Path}, r.s.err)
	if err != nil {
		return err
	}
	prefix := path.Clean(filepath.ToSlash(r.c.Path)) + "/"
	if info, err := os.Stat(r.c.Path); err == nil && !info.IsDir() {
		prefix = path.Dir(path.Clean(filepath.ToSlash(r.c.Path))) + "/"
	}
	files := make([]wire.PackFile, len(loaded.files))
	for i, f := range loaded.files {
		files[i] = wire.PackFile{Name: strings.TrimPrefix(f.Name, prefix), Content: f.Content}
	}
	if r.archive, err = wire.Pack(files); err != nil {
		return wrong("a smaller project", "%v", err)
	}
	r.loaded, r.project, r.version = loaded.project, r.c.Project, r.c.Version
	if r.project == "" {
		r.project = loaded.project.Defaults.Name
	}
	if r.project == "" {
		folder, err := filepath.Abs(r.c.Path)
		if err != nil {
			return err
		}
		r.project = filepath.Base(folder)
	}
	r.pack = packageRef{SHA256: wire.PackageID(r.archive), Project: r.project, Version: r.version}
	return nil
}

// find looks up the environment, and the package where it is there already.
func (r *rollout) find(ctx context.Context) error {
	var err error
	if r.environment, err = r.environmentNamed(ctx, r.c.Environment); err != nil {
		return err
	}
	switch {
	case r.c.Package != "":
		r.pack, err = r.packageOf(ctx, r.c.Package)
	case r.c.FromEnvironment != "":
		r.pack, err = r.packageIn(ctx, r.c.FromEnvironment)
	case r.c.Rollback:
		r.pack, err = r.packageBefore(ctx)
	}
	r.project, r.version = r.pack.Project, r.pack.Version
	return err
}

func (r *rollout) environmentNamed(ctx context.Context, name string) (named, error) {
	all, err := query[named](ctx, r.p, "Environment")
	if err != nil {
		return named{}, err
	}
	var names []string
	for _, e := range all {
		if e.Name == name || e.ID == name {
			return e, nil
		}
		names = append(names, e.Name)
	}
	if len(names) == 0 {
		return named{}, wrong("valence cloud environments make "+name+", or a token of that environment", "there is no environment %s that this token may see, and no other", name)
	}
	sort.Strings(names)
	return named{}, wrong("--environment "+strings.Join(names, ", or --environment "), "there is no environment %s that this token may see", name)
}

// packages gives every package of the account, one for each, newest last.
func (r *rollout) packages(ctx context.Context, all ...where) ([]packageRef, error) {
	found, err := query[packageRef](ctx, r.p, "PackagedComponent", all...)
	seen := map[string]bool{}
	var list []packageRef
	for _, x := range found { // there is one for each process
		if !seen[x.ID] {
			seen[x.ID] = true
			list = append(list, x)
		}
	}
	return list, err
}

func (r *rollout) packageOf(ctx context.Context, id string) (packageRef, error) {
	all, err := r.packages(ctx)
	if err != nil {
		return packageRef{}, err
	}
	var found []packageRef
	for _, x := range all {
		if (x.ID == id || len(id) >= 8 && strings.HasPrefix(x.SHA256, strings.ToLower(id))) && (r.c.Project == "" || x.Project == r.c.Project) &&
			(r.c.Version == "" || x.Version == r.c.Version) {
			found = append(found, x)
		}
	}
	switch {
	case len(found) == 0:
		return packageRef{}, wrong("the SHA-256 of a package that was uploaded, or its first 8 digits", "there is no package %s", id)
	case found[0].SHA256 != found[len(found)-1].SHA256:
		return packageRef{}, wrong("more digits of it", "several packages start with %s", id)
	}
	return found[len(found)-1], nil
}

// deployments gives those of the project to an environment, oldest first, one
// for each.
func (r *rollout) deployments(ctx context.Context, environment string, project string) ([]deploymentRef, map[string]packageRef, error) {
	packs, err := r.packages(ctx)
	if err != nil {
		return nil, nil, err
	}
	byID := map[string]packageRef{}
	for _, x := range packs {
		byID[x.ID] = x
	}
	found, err := query[deploymentRef](ctx, r.p, "DeployedPackage", where{"environmentId", environment})
	if err != nil {
		return nil, nil, err
	}
	seen := map[string]bool{}
	var list []deploymentRef
	for _, d := range found {
		if !seen[d.ID] && (project == "" || byID[d.Package].Project == project) {
			seen[d.ID] = true
			list = append(list, d)
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].At.Before(list[j].At) })
	return list, byID, nil
}

// packageIn finds the package that an environment has.
func (r *rollout) packageIn(ctx context.Context, environment string) (packageRef, error) {
	e, err := r.environmentNamed(ctx, environment)
	if err != nil {
		return packageRef{}, err
	}
	all, packs, err := r.deployments(ctx, e.ID, r.c.Project)
	if err != nil {
		return packageRef{}, err
	}
	var active []packageRef
	var names []string
	for _, d := range all {
		if d.Active {
			active = append(active, packs[d.Package])
			names = append(names, packs[d.Package].Project)
		}
	}
	switch {
	case len(active) == 0 && r.c.Project != "":
		return packageRef{}, wrong("valence cloud deployments, which lists what is deployed where", "the project %s is not deployed to %s", r.c.Project, e.Name)
	case len(active) == 0:
		return packageRef{}, wrong("valence deploy DIR --environment "+e.Name+" --version V first", "nothing is deployed to %s", e.Name)
	case len(active) > 1:
		return packageRef{}, usage("--project "+strings.Join(names, ", or --project "), "%s has several projects", e.Name)
	}
	return active[0], nil
}

// roll uploads, deploys and follows.
func (r *rollout) roll(ctx context.Context) error {
	if r.archive != nil {
		q := url.Values{"project": {r.project}, "version": {r.version}}
		if r.c.Notes != "" {
			q.Set("notes", r.c.Notes)
		}
		header := http.Header{"Content-Type": {"application/octet-stream"}}
		if _, err := r.p.call(ctx, http.MethodPost, "Package/upload?"+q.Encode(), r.archive, header, &r.pack); err != nil {
			return err
		}
		r.progress("uploaded  %s %s  %s  %s", r.project, r.version, r.pack.SHA256[:12], spec.FormatSize(int64(len(r.archive))))
	}
	in := map[string]any{"environmentId": r.environment.ID, "packageId": r.pack.ID, "notes": r.c.Notes}
	if r.c.Paused {
		in["listenerStatus"] = "PAUSED"
	}
	if err := r.sign(in); err != nil {
		return err
	}
	if r.c.Sign != "" || r.c.Paused { // the same package may be there without
		if err := r.before(ctx); err != nil {
			return err
		}
	}
	var d deploymentRef
	if err := r.p.post(ctx, "DeployedPackage", in, &d); err != nil {
		return err
	}
	r.progress("deployed  %s %s to %s", r.project, r.version, r.environment.Name)
	return r.follow(ctx, d.ID)
}

// before notes what atoms have told of the package if it is deployed already:
// it is not what they tell of it now.
func (r *rollout) before(ctx context.Context) error {
	all, err := query[deploymentRef](ctx, r.p, "DeployedPackage", where{"environmentId", r.environment.ID}, where{"packageId", r.pack.ID})
	if err != nil {
		return err
	}
	r.stale = map[string]atomResult{}
	for _, d := range all {
		if !d.Active || r.c.Sign == "" && d.Asked == "PAUSED" { // nothing changes, and nothing new is told
			continue
		}
		if _, err := r.p.call(ctx, http.MethodGet, "DeployedPackage/"+d.ID, nil, nil, &d); err != nil {
			return err
		}
		for _, x := range d.Atoms {
			r.stale[x.Atom] = x
		}
	}
	return nil
}

// sign adds what a publisher says of the deployment.
func (r *rollout) sign(in map[string]any) error {
	if r.c.Sign == "" {
		return nil
	}
	key, err := publisherKey(r.c.Sign)
	if err != nil {
		return err
	}
	st := wire.Statement{Project: r.project, Environment: r.environment.Name, Serial: r.c.Serial, Package: r.pack.SHA256, Fields: r.c.Field, Hosts: r.c.Host}
	if st.Serial == 0 {
		st.Serial = time.Now().Unix()
	}
	text, signature, err := st.Sign(key)
	if err != nil {
		return err
	}
	in["statement"], in["signature"] = base64.StdEncoding.EncodeToString(text), base64.StdEncoding.EncodeToString(signature)
	return nil
}

// progress tells a person how it goes on.
func (r *rollout) progress(format string, args ...any) {
	if !r.c.JSON {
		fmt.Fprintf(r.s.out, format+"\n", args...)
	}
}

func makePublisherKey(s *streams, file string) error {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	if _, err := os.Stat(file); err == nil {
		return wrong("another name", "%s is there already", file)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := writeWhole(file, text, 0o600); err != nil {
		return failed("a folder that can be written to", "%v", err)
	}
	if err := writeWhole(file+".pub", []byte(wire.FormatKey(pub)+"\n"), 0o644); err != nil {
		return failed("a folder that can be written to", "%v", err)
	}
	fmt.Fprintf(s.out, "%s\nprivate key in %s: keep it where the control plane is not; public key in %s.pub\n", wire.FormatKey(pub), file, file)
	return nil
}

func publisherKey(file string) (ed25519.PrivateKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, failed("--sign FILE with a publisher's private key", "%v", err)
	}
	block, _ := pem.Decode(text)
	if block != nil {
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if k, ok := key.(ed25519.PrivateKey); ok {
				return k, nil
			}
		}
	}
	return nil, failed("valence deploy --make-key FILE, which makes one", "%s holds no private Ed25519 key (PEM, PKCS 8)", file)
}
