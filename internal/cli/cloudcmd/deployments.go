package cloudcmd

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"valence/internal/cli/client"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
)

type deploymentsCommand struct {
	client.CloudFlags
	ID   string `arg:"" optional:"" name:"deployment" help:"Show one deployment with its state on each atom."`
	All  bool   `help:"Include replaced deployments."`
	JSON bool   `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*deploymentsCommand) Help() string {
	return "Examples:\n\n    valence cloud deployments --json\n    valence cloud deployments 6f0c9a52-…\n"
}

type deployment struct {
	ID, Environment, Project, Version, By string
	Created                               time.Time
	Active                                bool
	Results                               []struct {
		Atom, Name, State, Detail string
		At                        time.Time
	}
}

// summary counts the atoms by state: "2 active, 1 failed".
func (d *deployment) summary() string {
	counts := map[string]int{}
	for _, r := range d.Results {
		counts[strings.ReplaceAll(r.State, "_", " ")]++
	}
	var all []string
	for state, n := range counts {
		all = append(all, fmt.Sprintf("%d %s", n, state))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// Run lists deployments, or shows one.
func (c *deploymentsCommand) Run(s *terminal.Streams) error {
	if c.ID != "" {
		return c.show(s)
	}
	path := "/deployments?active=true"
	if c.All {
		path = "/deployments"
	}
	var list struct{ Deployments []deployment }
	return c.Get(s, c.JSON, path, &list, func() *terminal.Table {
		t := &terminal.Table{Head: []string{"DEPLOYMENT", "ENVIRONMENT", "PROJECT", "VERSION", "MADE", "BY", "ATOMS", ""}}
		for _, d := range list.Deployments {
			state := ""
			if !d.Active {
				state = "replaced"
			}
			t.Add(d.ID, d.Environment, d.Project, d.Version, terminal.Ago(d.Created), d.By, d.summary(), state)
		}
		return t
	})
}

func (c *deploymentsCommand) show(s *terminal.Streams) error {
	var d deployment
	return c.Get(s, c.JSON, "/deployments/"+url.PathEscape(c.ID), &d, func() *terminal.Table {
		t := &terminal.Table{Head: []string{"ATOM", "STATE", "AT", "DETAIL"}}
		for _, r := range d.Results {
			name := r.Name
			if name == "" {
				name = r.Atom
			}
			t.Add(name, strings.ReplaceAll(r.State, "_", " "), terminal.Ago(r.At), r.Detail)
		}
		return t
	})
}

type undeployCommand struct {
	client.CloudFlags
	Project     string `arg:"" help:"Name of the project."`
	Environment string `required:"" short:"e" placeholder:"NAME" help:"Environment from which the project is removed."`
}

// Help returns the text below the command's summary.
func (*undeployCommand) Help() string {
	return `The atoms of the environment accept no more messages for the project, and finish the
accepted ones. The package remains and can be deployed again.

Example:

    valence cloud undeploy shop --environment test
`
}

// Run removes a project from an environment.
func (c *undeployCommand) Run(s *terminal.Streams) error {
	var list struct{ Deployments []deployment }
	if _, err := c.Do(http.MethodGet, "/deployments?active=true", nil, &list); err != nil {
		return err
	}
	var others []string
	for _, d := range list.Deployments {
		if d.Environment != c.Environment {
			continue
		}
		if d.Project != c.Project {
			others = append(others, d.Project)
			continue
		}
		if _, err := c.Do(http.MethodDelete, "/deployments/"+url.PathEscape(d.ID), nil, nil); err != nil {
			return err
		}
		return printLine(s, "%s %s is removed from %s", d.Project, d.Version, d.Environment)
	}
	if len(others) > 0 {
		slices.Sort(others)
		return clierror.Invalid("valence cloud undeploy "+others[0]+" --environment "+c.Environment, "%s is not deployed to %s; deployed there: %s", c.Project, c.Environment, strings.Join(others, ", "))
	}
	return clierror.Invalid("valence cloud deployments, to list them", "nothing is deployed to %s", c.Environment)
}
