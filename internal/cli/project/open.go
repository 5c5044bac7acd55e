package project

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"valence/atom/server"
	"valence/connectors"
	"valence/internal/access"
	"valence/internal/clierror"
	"valence/internal/datafolder"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/mask"
	"valence/internal/spec"
	"valence/processes"
	"valence/processes/loader"
)

// Choice holds the flags of commands that use the connections of a project
// without an atom.
type Choice struct {
	Project     []string `placeholder:"PATH" default:"." files:"" help:"Folders and files of the project."`
	Environment string   `placeholder:"NAME" help:"Environment component with the values. Default: environment variables."`
	Data        string   `default:"data" env:"VALENCE_DATA" help:"Data folder of the atom, which the project cannot reach."`
}

// Opened is a valid project with the values that were found.
type Opened struct {
	*processes.Project
	Values  processes.Values
	Missing []string  // names of values that were not found
	Masks   *mask.Set // of the secrets

	policy      *access.Policy
	environment *processes.Environment // nil: environment variables
}

// Open reads the project and finds its values. It prints the errors of the
// project to errw.
func (c *Choice) Open(errw io.Writer) (*Opened, error) {
	files, err := c.Read()
	if err != nil {
		return nil, err
	}
	p, problems := loader.Load(files, Catalog())
	return c.Find(&Loaded{p, problems, files}, errw)
}

// Read reads the files of the project.
func (c *Choice) Read() ([]processes.File, error) {
	files, err := loader.ReadDir(c.Project...)
	if err != nil {
		return nil, clierror.Failed("name the folder of the project with --project", "%v", err)
	}
	return files, nil
}

// Find finds the values of a loaded project. It prints the errors of the
// project to errw, and leaves out its warnings.
func (c *Choice) Find(p *Loaded, errw io.Writer) (*Opened, error) {
	if err := p.refuse(errw); err != nil {
		return nil, err
	}
	policy, err := access.Local(c.Data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, datafolder.NotOwner(c.Data)
	}
	env, secrets, missing, err := server.Values(p.Project, c.Environment, policy)
	if err != nil {
		return nil, err
	}
	o := &Opened{
		Project: p.Project, Missing: missing, Masks: &mask.Set{}, policy: policy, environment: p.Project.Environments[c.Environment],
		Values: processes.Values{Env: document.FromPlain(env).(*document.Object), Secrets: document.FromPlain(secrets).(*document.Object)},
	}
	o.Masks.Add(slices.Collect(maps.Values(secrets))...)
	return o, nil
}

// Connect opens a connection of the project. The caller closes it.
func (o *Opened) Connect(name string) (connectors.Connection, processes.ConnectionLimits, error) {
	var none processes.ConnectionLimits
	c := o.Connections[name]
	if c == nil {
		return nil, none, clierror.Usage(spec.Suggestion(name, slices.Sorted(maps.Keys(o.Connections))), "the project has no connection %s", name)
	}
	var override *expression.Template
	if o.environment != nil {
		override = o.environment.Connections[name]
	}
	limits, settings, err := c.Resolve(&expression.Env{Names: o.Values}, override, nil)
	if err != nil {
		if missing := o.missingIn(c.Settings, override); len(missing) > 0 {
			return nil, none, clierror.Failed("set "+strings.Join(missing, ", ")+" (for a secret in a file, set NAME_FILE), or choose --environment",
				"%s: the connection %s needs values that are not set: %s", c.Pos, name, strings.Join(missing, ", "))
		}
		return nil, none, clierror.Invalid("correct the settings of the connection, or the values that they read", "%s", o.Masks.String(firstLine(err)))
	}
	client, err := c.Connector.Open(settings, o.policy)
	if err != nil {
		return nil, none, clierror.Invalid("correct the settings of the connection", "%s: connection %s: %s", c.Pos, name, o.Masks.String(err.Error()))
	}
	return client, limits, nil
}

// missingIn returns the names of the missing values that settings read.
func (o *Opened) missingIn(settings ...*expression.Template) []string {
	read := map[string]bool{}
	for _, t := range settings {
		if t == nil {
			continue
		}
		for _, r := range t.Refs() {
			if len(r.Path) < 2 {
				continue
			}
			if key := r.Path[0] + " " + r.Path[1]; slices.Contains(o.Missing, key) {
				read[r.Path[1]] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(read))
}

// firstLine returns the text of an error without its hint.
func firstLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n    try: ")
	return text
}
