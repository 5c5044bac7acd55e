package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"time"
)

type cloudDeploymentsCmd struct {
	cloudRemote
	ID   string `arg:"" optional:"" name:"deployment" help:"One deployment, with what became of it on each atom."`
	All  bool   `help:"Also those that were replaced."`
	JSON bool   `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*cloudDeploymentsCmd) Help() string {
	return "Examples:\n\n    valence cloud deployments --json\n    valence cloud deployments 6f0c9a52-…\n"
}

type cloudDeployment struct {
	ID, Environment, Project, Version, By string
	Created                               time.Time
	Active                                bool
	Results                               []struct {
		Atom, Name, State, Detail string
		At                        time.Time
	}
}

// became sums up what became of a deployment: "2 active, 1 failed".
func (d *cloudDeployment) became() string {
	counts := map[string]int{}
	for _, r := range d.Results {
		counts[strings.ReplaceAll(r.State, "_", " ")]++
	}
	var all []string
	for state, n := range counts {
		all = append(all, fmt.Sprintf("%d %s", n, state))
	}
	sort.Strings(all)
	return strings.Join(all, ", ")
}

// Run lists deployments, or shows one.
func (c *cloudDeploymentsCmd) Run(s *streams) error {
	if c.ID != "" {
		var d cloudDeployment
		return c.get(s, c.JSON, "/deployments/"+url.PathEscape(c.ID), &d, func() *table {
			t := &table{head: []string{"ATOM", "STATE", "AT", "DETAIL"}}
			for _, r := range d.Results {
				name := r.Name
				if name == "" {
					name = r.Atom
				}
				t.add(name, strings.ReplaceAll(r.State, "_", " "), ago(r.At), r.Detail)
			}
			return t
		})
	}
	path := "/deployments?active=true"
	if c.All {
		path = "/deployments"
	}
	var list struct{ Deployments []cloudDeployment }
	return c.get(s, c.JSON, path, &list, func() *table {
		t := &table{head: []string{"DEPLOYMENT", "ENVIRONMENT", "PROJECT", "VERSION", "MADE", "BY", "ATOMS", ""}}
		for _, d := range list.Deployments {
			state := ""
			if !d.Active {
				state = "replaced"
			}
			t.add(d.ID, d.Environment, d.Project, d.Version, ago(d.Created), d.By, d.became(), state)
		}
		return t
	})
}

type cloudUndeployCmd struct {
	cloudRemote
	Project     string `arg:"" help:"The project."`
	Environment string `required:"" short:"e" help:"The environment that it is taken out of."`
}

// Help is shown below the command's summary.
func (*cloudUndeployCmd) Help() string {
	return `Its atoms stop taking anything in for it; what they have taken on is finished. The
package stays, and can be deployed again.

Example:

    valence cloud undeploy shop --environment test
`
}

// Run takes a project out of an environment.
func (c *cloudUndeployCmd) Run(s *streams) error {
	var list struct{ Deployments []cloudDeployment }
	if _, err := c.do(http.MethodGet, "/deployments?active=true", nil, &list); err != nil {
		return err
	}
	var there []string
	for _, d := range list.Deployments {
		if d.Environment != c.Environment {
			continue
		}
		if d.Project != c.Project {
			there = append(there, d.Project)
			continue
		}
		if _, err := c.do(http.MethodDelete, "/deployments/"+url.PathEscape(d.ID), nil, nil); err != nil {
			return err
		}
		_, err := fmt.Fprintf(s.out, "%s %s is taken out of %s\n", d.Project, d.Version, d.Environment)
		return err
	}
	if len(there) > 0 {
		sort.Strings(there)
		return wrong("valence cloud undeploy "+there[0]+" --environment "+c.Environment, "%s is not deployed to %s; there is %s", c.Project, c.Environment, strings.Join(there, ", "))
	}
	return wrong("valence cloud deployments, which lists what there is", "nothing is deployed to %s", c.Environment)
}

type cloudAttachCmd struct {
	cloudRemote
	Atom        string `arg:"" help:"Its name or id."`
	Environment string `required:"" short:"e" help:"The environment."`
}

// Help is shown below the command's summary.
func (*cloudAttachCmd) Help() string {
	return `It takes what is deployed there, with the environment's values. An atom is in one
environment at most.

Example:

    valence cloud attach edge-01 --environment prod
`
}

// Run attaches an atom.
func (c *cloudAttachCmd) Run(s *streams) error {
	if _, err := c.do(http.MethodPut, "/atoms/"+url.PathEscape(c.Atom)+"/environment", map[string]string{"environment": c.Environment}, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "the atom %s is in %s\n", c.Atom, c.Environment)
	return err
}

type cloudDetachCmd struct {
	cloudRemote
	Atom string `arg:"" help:"Its name or id."`
}

// Help is shown below the command's summary.
func (*cloudDetachCmd) Help() string {
	return `What is deployed there goes from it; what it has taken on is finished. It stays
enrolled, and can be attached to another environment.

Example:

    valence cloud detach edge-01
`
}

// Run detaches an atom.
func (c *cloudDetachCmd) Run(s *streams) error {
	if _, err := c.do(http.MethodDelete, "/atoms/"+url.PathEscape(c.Atom)+"/environment", nil, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "the atom %s is in no environment\n", c.Atom)
	return err
}
