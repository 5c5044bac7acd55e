// Package project reads projects from disk and has the commands that need
// nothing else: lint, new and schema.
package project

import (
	"io"
	"slices"
	"strings"

	"valence/atom/steps"
	"valence/connectors/all"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/fault"
	"valence/internal/version"
	"valence/processes"
	"valence/processes/loader"
)

// Catalog returns every step and connector that projects may use.
func Catalog() *processes.Catalog {
	return &processes.Catalog{Steps: steps.Kinds(), Connectors: all.Registry(version.String())}
}

// Loaded is a project with its files and problems. With errors, Project has
// only the parts that could be understood.
type Loaded struct {
	Project  *processes.Project
	Problems fault.Problems
	Files    []processes.File
}

// Load reads a project; an empty list of paths means the current folder.
// Problems in its files are not an error.
func Load(paths []string) (*Loaded, error) {
	if len(paths) == 0 {
		paths = []string{"."}
	}
	files, err := loader.ReadDir(paths...)
	if err != nil {
		return nil, clierror.Failed("name the folder with the project's YAML files", "%v", err)
	}
	if len(files) == 0 {
		return nil, clierror.Invalid("valence new DIR, to create a project; or valence join, to run what a control plane deploys", "there is no YAML file in %s", strings.Join(paths, ", "))
	}
	project, problems := loader.Load(files, Catalog())
	return &Loaded{project, problems, files}, nil
}

// LoadValid reads a project and prints its problems to errw. A project with
// errors is an error.
func LoadValid(paths []string, errw io.Writer) (*Loaded, error) {
	p, err := Load(paths)
	if err != nil {
		return nil, err
	}
	if err := p.print(errw); err != nil {
		return nil, err
	}
	return p, p.invalid()
}

// invalid returns the error of a project with errors, otherwise nil.
func (p *Loaded) invalid() error {
	errors, _ := count(p.Problems)
	if errors == 0 {
		return nil
	}
	return clierror.Invalid("fix them; valence lint lists them again", "the project has %s", terminal.Count(errors, "error", "errors"))
}

// refuse prints the errors of a project, without its warnings, and returns an
// error if there are any.
func (p *Loaded) refuse(errw io.Writer) error {
	only := *p
	only.Problems = slices.DeleteFunc(slices.Clone(p.Problems), func(q *fault.Problem) bool { return q.Severity != fault.Error })
	if err := only.print(errw); err != nil {
		return err
	}
	return p.invalid()
}

func count(problems fault.Problems) (errors, warnings int) {
	for _, p := range problems {
		if p.Severity == fault.Error {
			errors++
		} else {
			warnings++
		}
	}
	return errors, warnings
}
