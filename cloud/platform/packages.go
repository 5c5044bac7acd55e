package platform

import (
	"net/http"
	"strings"

	"valence/cloud"
	"valence/cloud/platform/codec"
	"valence/cloud/platform/filter"
	"valence/internal/openapi"
)

var processObject = &object[cloud.Component]{
	Name: "Process", ID: "id", Doc: "A process of a package. Its id is the same in every version of the project.",
	Properties: []property[cloud.Component]{
		{Name: "id", Attr: true, Filter: true, Doc: "The id.", Of: func(_ *call, p cloud.Component) any { return p.ID }},
		{Name: "name", Attr: true, Filter: true, Doc: "The name.", Of: func(_ *call, p cloud.Component) any { return p.Name }},
		{Name: "project", Attr: true, Filter: true, Doc: "The project. Extension.", Of: func(_ *call, p cloud.Component) any { return p.Project }},
		{Name: "integrationPackId", Filter: true, Hidden: true, Doc: "Integration packs do not exist here.", Of: func(*call, cloud.Component) any { return "" }},
		{Name: "integrationPackInstanceId", Filter: true, Hidden: true, Doc: "Integration packs do not exist here.", Of: func(*call, cloud.Component) any { return "" }},
	},
	Rules: map[verb]cloud.Action{verbGet: "component.read", verbBulk: "component.read", verbQuery: "component.read"},
	Key:   func(p cloud.Component) string { return order(p.Created, p.ID) },
	Get:   getComponent, List: listComponents,
}

func getComponent(c *call, id string) (cloud.Component, error) {
	return c.service.Packages.Component(c.ctx, c.who, id)
}

func listComponents(c *call) ([]cloud.Component, error) {
	return c.service.Packages.Components(c.ctx, c.who)
}

var componentObject = &object[cloud.Component]{
	Name: "ComponentMetadata", ID: "componentId", Doc: "Metadata of a component. Every component is a process; only the newest version exists independently of its packages.",
	Properties: []property[cloud.Component]{
		{Name: "componentId", Attr: true, Filter: true, Doc: "The id.", Of: func(_ *call, x cloud.Component) any { return x.ID }},
		{Name: "version", Attr: true, Filter: true, Type: filter.Number, Doc: "The number of packages so far.", Of: func(c *call, x cloud.Component) any { return c.latest(x.ID) }},
		{Name: "name", Attr: true, Filter: true, Doc: "The name.", Of: func(_ *call, x cloud.Component) any { return x.Name }},
		{Name: "type", Attr: true, Filter: true, Doc: "Always process.", Of: func(_ *call, x cloud.Component) any { return x.Type }},
		{Name: "subType", Filter: true, Hidden: true, Doc: "Processes have no subtypes.", Of: func(*call, cloud.Component) any { return "" }},
		{Name: "createdDate", Attr: true, Filter: true, Type: filter.Time, Doc: "The time of the first package.", Of: func(_ *call, x cloud.Component) any { return x.Created }},
		{Name: "createdBy", Attr: true, Filter: true, Doc: "The user who uploaded it.", Of: func(_ *call, x cloud.Component) any { return x.By }},
		{Name: "modifiedDate", Attr: true, Filter: true, Type: filter.Time, Doc: "The time of the newest package.", Of: func(_ *call, x cloud.Component) any { return x.Modified }},
		{Name: "modifiedBy", Attr: true, Filter: true, Doc: "The user who uploaded it.", Of: func(_ *call, x cloud.Component) any { return x.By }},
		{Name: "deleted", Attr: true, Filter: true, Type: filter.Bool, Doc: "Always false.", Of: func(*call, cloud.Component) any { return false }},
		{Name: "currentVersion", Attr: true, Filter: true, Type: filter.Bool, Doc: "Always true.", Of: func(*call, cloud.Component) any { return true }},
		{Name: "folderName", Attr: true, Filter: true, Doc: "The project.", Of: func(_ *call, x cloud.Component) any { return x.Project }},
		{Name: "folderId", Filter: true, Hidden: true, Doc: "Projects have no ids.", Of: func(*call, cloud.Component) any { return "" }},
		{Name: "accountId", Filter: true, Hidden: true, Doc: "The account.", Of: func(_ *call, x cloud.Component) any { return x.Account }},
	},
	Rules: map[verb]cloud.Action{verbGet: "component.read", verbBulk: "component.read", verbQuery: "component.read"},
	Key:   func(x cloud.Component) string { return order(x.Created, x.ID) },
	Get: func(c *call, id string) (cloud.Component, error) {
		id, _, _ = strings.Cut(id, "~") // componentId~version
		return getComponent(c, id)
	},
	List: listComponents,
}

// packaged is one component of a package. Here a package is a whole project; the
// public API has one package per component.
type packaged struct {
	cloud.Package
	component string
}

var packageObject = &object[packaged]{
	Name: "PackagedComponent", ID: "packageId", Doc: "A version of a project, listed once for each of its processes. Creating one packages the newest content of the process's project under a new version.",
	Properties: []property[packaged]{
		{Name: "packageId", Filter: true, Doc: "The id of the package, the same for all of its processes.", Of: func(_ *call, p packaged) any { return p.ID }},
		{Name: "packageVersion", Filter: true, Write: onCreate, Doc: "The version. Without one, creation returns the newest package.", Of: func(_ *call, p packaged) any { return p.Version }},
		{Name: "componentId", Filter: true, Write: onCreate, Required: true, Doc: "The process.", Of: func(_ *call, p packaged) any { return p.component }},
		{Name: "componentVersion", Filter: true, Type: filter.Number, Doc: "The version number of the process; only the newest can be packaged.", Of: func(c *call, p packaged) any { return c.version(p.ID, p.component) }},
		{Name: "componentType", Filter: true, Doc: "Always process.", Of: func(*call, packaged) any { return cloud.TypeProcess }},
		{Name: "notes", Filter: true, Write: onCreate, Doc: "Release notes.", Of: func(_ *call, p packaged) any { return p.Notes }},
		{Name: "createdDate", Filter: true, Type: filter.Time, Doc: "The time of creation; values from clients are ignored.", Of: func(_ *call, p packaged) any { return p.Created }},
		{Name: "createdBy", Filter: true, Doc: "The user who created it.", Of: func(_ *call, p packaged) any { return p.By }},
		{Name: "deleted", Filter: true, Type: filter.Bool, Doc: "Always false.", Of: func(*call, packaged) any { return false }},
		{Name: "shareable", Filter: true, Type: filter.Bool, Doc: "Always false.", Of: func(*call, packaged) any { return false }},
		{Name: "project", Filter: true, Doc: "The project. Extension.", Of: func(_ *call, p packaged) any { return p.Project }},
		{Name: "sha256", Filter: true, Doc: "The SHA-256 digest of the archive. Extension.", Of: func(_ *call, p packaged) any { return p.SHA256 }},
		{Name: "size", Type: filter.Number, Doc: "The size of the archive in bytes. Extension.", Of: func(_ *call, p packaged) any { return int(p.Size) }},
	},
	Rules: map[verb]cloud.Action{verbGet: "package.read", verbBulk: "package.read", verbQuery: "package.read", verbCreate: "package.create", verbDelete: "package.delete"},
	Key:   func(p packaged) string { return order(p.Created, p.ID, p.component) },
	Get: func(c *call, id string) (packaged, error) {
		p, err := c.service.Packages.Get(c.ctx, c.who, id)
		return packaged{p, first(p.Components)}, err
	},
	List: func(c *call) ([]packaged, error) {
		all, err := c.service.Packages.List(c.ctx, c.who)
		var out []packaged
		for _, p := range all {
			for _, id := range p.Components {
				out = append(out, packaged{p, id})
			}
		}
		return out, err
	},
	Create: func(c *call, in *codec.Node) (packaged, error) {
		id := in.String("componentId")
		asked, err := in.Int("componentVersion", 0)
		if err != nil {
			return packaged{}, refuse(http.StatusBadRequest, "%v", err)
		}
		if newest := c.latest(id); asked > 0 && newest > 0 && asked != newest {
			return packaged{}, refuse(http.StatusBadRequest, "only the newest version of a component can be packaged, %d; leave componentVersion out", newest)
		}
		p, err := c.service.Packages.PackageComponent(c.ctx, c.who, id, in.String("packageVersion"), in.String("notes"))
		c.seen = known{}
		return packaged{p, id}, err
	},
	Delete: func(c *call, id string) error { return c.service.Packages.Delete(c.ctx, c.who, id) },
}

func first(ids []string) string {
	if len(ids) == 0 {
		return ""
	}
	return ids[0]
}

// deployed is one component of a deployment.
type deployed struct {
	cloud.Deployment
	component string
}

var deploymentObject = &object[deployed]{
	Name: "DeployedPackage", ID: "deploymentId", Doc: "That an environment has a package, once for each of its processes. Deploying again what is active is no error; deleting one takes it out of its environment.",
	Properties: []property[deployed]{
		{Name: "deploymentId", Filter: true, Doc: "The id of the deployment, the same for all of its processes.", Of: func(_ *call, d deployed) any { return d.ID }},
		{Name: "environmentId", Filter: true, Write: onCreate, Required: true, Doc: "The environment.", Of: func(_ *call, d deployed) any { return d.EnvironmentID }},
		{Name: "environmentName", Filter: true, Hidden: true, Doc: "The name.", Of: func(c *call, d deployed) any { return c.environment(d.EnvironmentID) }},
		{Name: "packageId", Filter: true, Write: onCreate, Required: true, Doc: "The package.", Of: func(_ *call, d deployed) any { return d.PackageID }},
		{Name: "packageVersion", Filter: true, Doc: "Its version.", Of: func(c *call, d deployed) any { return c.pkg(d.PackageID).Version }},
		{Name: "packageNotes", Filter: true, Hidden: true, Doc: "The notes of the package.", Of: func(c *call, d deployed) any { return c.pkg(d.PackageID).Notes }},
		{Name: "componentId", Filter: true, Doc: "The process.", Of: func(_ *call, d deployed) any { return d.component }},
		{Name: "componentName", Filter: true, Hidden: true, Doc: "The name.", Of: func(c *call, d deployed) any { return c.component(d.component).Name }},
		{Name: "componentType", Filter: true, Doc: "Always process.", Of: func(*call, deployed) any { return cloud.TypeProcess }},
		{Name: "componentVersion", Filter: true, Type: filter.Number, Doc: "The version number of the process.", Of: func(c *call, d deployed) any { return c.version(d.PackageID, d.component) }},
		{Name: "deployedDate", Filter: true, Type: filter.Time, Doc: "The time of deployment.", Of: func(_ *call, d deployed) any { return d.Created }},
		{Name: "deployedBy", Filter: true, Doc: "The user who deployed it.", Of: func(_ *call, d deployed) any { return d.By }},
		{Name: "active", Filter: true, Type: filter.Bool, Doc: "Whether the deployment is active.", Of: func(_ *call, d deployed) any { return d.Active }},
		{Name: "current", Filter: true, Hidden: true, Type: filter.Bool, Doc: "The same as active.", Of: func(_ *call, d deployed) any { return d.Active }},
		{Name: "notes", Filter: true, Write: onCreate, Doc: "Why.", Of: func(_ *call, d deployed) any { return d.Notes }},
		{Name: "testsSkipped", Write: onCreate, Type: filter.Bool, Doc: "Whether the tests of the project were skipped; written to the audit log.", Of: func(_ *call, d deployed) any { return d.TestsSkipped }},
		{Name: "listenerStatus", Write: onCreate, Enum: []string{cloud.Running, cloud.Paused}, Doc: "Whether the listeners start; default RUNNING, or the state of the previous version.", Of: func(_ *call, d deployed) any { return d.ListenerStatus }},
		{Name: "accountId", Filter: true, Hidden: true, Doc: "The account.", Of: func(_ *call, d deployed) any { return d.Account }},
	},
	Rules: map[verb]cloud.Action{verbGet: "deployment.read", verbBulk: "deployment.read", verbQuery: "deployment.read", verbCreate: "deployment.create", verbDelete: "deployment.delete"},
	Key:   func(d deployed) string { return order(d.Created, d.ID, d.component) },
	Get: func(c *call, id string) (deployed, error) {
		d, err := c.service.Deployments.Get(c.ctx, c.who, id)
		return deployed{d, first(c.pkg(d.PackageID).Components)}, err
	},
	List: func(c *call) ([]deployed, error) {
		all, err := c.service.Deployments.List(c.ctx, c.who)
		var out []deployed
		for _, d := range all {
			for _, id := range c.pkg(d.PackageID).Components {
				out = append(out, deployed{d, id})
			}
		}
		return out, err
	},
	Create: func(c *call, in *codec.Node) (deployed, error) {
		statement, err := decode64(in, "statement")
		if err != nil {
			return deployed{}, err
		}
		signature, err := decode64(in, "signature")
		if err != nil {
			return deployed{}, err
		}
		skipped, err := in.Bool("testsSkipped", false)
		if err != nil {
			return deployed{}, err
		}
		d, err := c.service.Deployments.Deploy(c.ctx, c.who, cloud.Deployment{TestsSkipped: skipped, PackageID: in.String("packageId"), EnvironmentID: in.String("environmentId"),
			Notes: in.String("notes"), ListenerStatus: strings.ToUpper(in.String("listenerStatus")), Statement: statement, Signature: signature})
		return deployed{d, first(c.pkg(d.PackageID).Components)}, err
	},
	Delete: func(c *call, id string) error { return c.service.Deployments.Undeploy(c.ctx, c.who, id) },
	Extra:  atomResults,
	Also:   doc{"atomResult": openapi.Array(texts("atomId", "state", "detail", "date"))},
}

// atomResults encodes the result of a deployment on each atom.
func atomResults(_ *call, d deployed) []codec.Field {
	var results []*codec.Object
	for _, r := range d.Results {
		results = append(results, &codec.Object{Type: "AtomResult", Fields: []codec.Field{
			{Name: "atomId", Value: r.AtomID, Attr: true}, {Name: "state", Value: r.State, Attr: true},
			{Name: "detail", Value: r.Detail, Attr: true}, {Name: "date", Value: codec.Millis(r.At), Attr: true}}}) // two results in one second are distinct
	}
	return []codec.Field{{Name: "atomResult", Value: results}}
}
