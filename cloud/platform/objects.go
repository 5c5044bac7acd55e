package platform

import (
	"fmt"
	"strings"
	"time"

	"valence/cloud"
	"valence/cloud/platform/codec"
	"valence/cloud/platform/filter"
)

// objects lists every object of the API.
func objects() []resource {
	return []resource{
		environmentObject, atomObject, attachmentObject, installerTokenObject, processObject, componentObject,
		packageObject, deploymentObject, recordObject, schedulesObject, scheduleStatusObject, extensionsObject, auditObject, roleObject,
		unavailable{"EnvironmentRole", "Environments have no role restrictions. Instead, an API token has one role and can be limited to environments with `valence cloud token --environment`."},
	}
}

// unavailable is an object of the public API that all answers of are 501.
type unavailable struct{ name, why string }

func (u unavailable) describe() description {
	action := cloud.Action("schedule.read")
	rules := map[verb]cloud.Action{}
	for _, v := range []verb{verbGet, verbBulk, verbQuery, verbCreate, verbUpdate, verbDelete} {
		rules[v] = action
	}
	return description{Name: u.name, ID: "id", Doc: u.why, Rules: rules, Unavailable: u.name + " is not available: " + u.why}
}

func (u unavailable) serve(*call, verb, string) (*codec.Object, error) {
	return nil, refuse(501, "%s", u.why)
}

// known is what was read of the account during a call, by id: names for answers
// and filters.
type known struct {
	environments map[string]cloud.Environment
	components   map[string]cloud.Component
	packages     map[string]cloud.Package
	versions     map[string]int // of package and component
}

// environment returns the name of an environment, or "" if the caller may not see it.
func (c *call) environment(id string) string {
	if c.seen.environments == nil {
		c.seen.environments = map[string]cloud.Environment{}
		all, _ := c.service.Environments.List(c.ctx, c.who) // who may not list them gets no names
		for _, e := range all {
			c.seen.environments[e.ID] = e
		}
	}
	return c.seen.environments[id].Name
}

func (c *call) component(id string) cloud.Component {
	if c.seen.components == nil {
		c.seen.components = map[string]cloud.Component{}
		all, _ := c.service.Packages.Components(c.ctx, c.who)
		for _, x := range all {
			c.seen.components[x.ID] = x
		}
	}
	return c.seen.components[id]
}

// pkg returns a package of the account.
func (c *call) pkg(id string) cloud.Package {
	c.readPackages()
	return c.seen.packages[id]
}

// version counts the packages of a component up to one: the public API numbers
// the versions of a component, and here a package is what makes one.
func (c *call) version(pkg, component string) int {
	c.readPackages()
	return c.seen.versions[pkg+" "+component]
}

// latest is the number of a component's newest version.
func (c *call) latest(component string) int {
	c.readPackages()
	return c.seen.versions[component]
}

func (c *call) readPackages() {
	if c.seen.packages != nil {
		return
	}
	c.seen.packages, c.seen.versions = map[string]cloud.Package{}, map[string]int{}
	all, _ := c.service.Packages.List(c.ctx, c.who) // newest first
	for i := len(all) - 1; i >= 0; i-- {
		c.seen.packages[all[i].ID] = all[i]
		for _, id := range all[i].Components {
			c.seen.versions[id]++
			c.seen.versions[all[i].ID+" "+id] = c.seen.versions[id]
		}
	}
}

// order is a key by time, and by id where times are the same.
func order(at time.Time, id ...string) string {
	return fmt.Sprintf("%020d %s", at.UnixNano(), strings.Join(id, " "))
}

var environmentObject = &object[cloud.Environment]{
	Name: "Environment", ID: "id", Doc: "A target that packages are deployed to.",
	Properties: []property[cloud.Environment]{
		{Name: "id", Attr: true, Filter: true, Doc: "The id.", Of: func(_ *call, e cloud.Environment) any { return e.ID }},
		{Name: "name", Attr: true, Filter: true, Write: onUpdate, Required: true, Doc: "The name, unique in the account.", Of: func(_ *call, e cloud.Environment) any { return e.Name }},
		{Name: "classification", Attr: true, Filter: true, Write: onCreate, Enum: []string{cloud.Production, cloud.Test}, Doc: "PROD (default) or TEST; set on creation.",
			Of: func(_ *call, e cloud.Environment) any { return e.Classification }},
	},
	Rules: map[verb]cloud.Action{verbGet: "environment.read", verbBulk: "environment.read", verbQuery: "environment.read",
		verbCreate: "environment.create", verbUpdate: "environment.update", verbDelete: "environment.delete"},
	Key: func(e cloud.Environment) string { return order(e.Created, e.ID) },
	Get: func(c *call, id string) (cloud.Environment, error) {
		return c.service.Environments.Get(c.ctx, c.who, id)
	},
	List: func(c *call) ([]cloud.Environment, error) { return c.service.Environments.List(c.ctx, c.who) },
	Create: func(c *call, in *codec.Node) (cloud.Environment, error) {
		e := cloud.Environment{Name: in.String("name"), Classification: strings.ToUpper(in.String("classification"))}
		if e.Classification == "" {
			e.Classification = cloud.Production
		}
		return c.service.Environments.Create(c.ctx, c.who, e)
	},
	Update: func(c *call, id string, in *codec.Node) (cloud.Environment, error) {
		if name := in.String("name"); name != "" {
			return c.service.Environments.Rename(c.ctx, c.who, id, name)
		}
		return c.service.Environments.Get(c.ctx, c.who, id)
	},
	Delete: func(c *call, id string) error { return c.service.Environments.Delete(c.ctx, c.who, id) },
}

var atomObject = &object[cloud.Atom]{
	Name: "Atom", ID: "id", Doc: "An enrolled atom. Atoms are created with `valence join` on their machine. Deleting one revokes its key.",
	Properties: []property[cloud.Atom]{
		{Name: "id", Attr: true, Filter: true, Doc: "The id.", Of: func(_ *call, a cloud.Atom) any { return a.ID }},
		{Name: "name", Attr: true, Filter: true, Write: onUpdate, Doc: "The name, unique in the account.", Of: func(_ *call, a cloud.Atom) any { return a.Name }},
		{Name: "status", Attr: true, Filter: true, Enum: []string{cloud.Online, cloud.Offline}, Doc: "ONLINE if the atom polled within the last minute.", Of: func(_ *call, a cloud.Atom) any { return a.Status }},
		{Name: "type", Attr: true, Filter: true, Doc: "ATOM, always.", Of: func(*call, cloud.Atom) any { return "ATOM" }},
		{Name: "hostName", Attr: true, Filter: true, Doc: "The host name reported by the atom.", Of: func(_ *call, a cloud.Atom) any { return a.Host }},
		{Name: "hostname", Filter: true, Hidden: true, Doc: "The same under the filter name of the public API.", Of: func(_ *call, a cloud.Atom) any { return a.Host }},
		{Name: "dateInstalled", Attr: true, Filter: true, Type: filter.Time, Doc: "The time of enrollment.", Of: func(_ *call, a cloud.Atom) any { return a.Enrolled }},
		{Name: "currentVersion", Attr: true, Filter: true, Doc: "The version of the program.", Of: func(_ *call, a cloud.Atom) any {
			if a.Heartbeat.Version != "" {
				return a.Heartbeat.Version
			}
			return a.Version
		}},
		{Name: "purgeHistoryDays", Attr: true, Filter: true, Type: filter.Number, Write: onUpdate, Doc: "The maximum retention of finished executions in days; 0 leaves it to the processes.", Of: func(_ *call, a cloud.Atom) any { return a.Purge }},
		{Name: "capabilities", Filter: true, Doc: "Capabilities of brokers and gateways; atoms have none.", Of: func(*call, cloud.Atom) any { return []string(nil) }},
		{Name: "lastSeen", Attr: true, Filter: true, Type: filter.Time, Doc: "The time of the last poll. Extension.", Of: func(_ *call, a cloud.Atom) any { return a.LastSeen }},
	},
	Rules:  map[verb]cloud.Action{verbGet: "atom.read", verbBulk: "atom.read", verbQuery: "atom.read", verbUpdate: "atom.update", verbDelete: "atom.delete"},
	Key:    func(a cloud.Atom) string { return order(a.Enrolled, a.ID) },
	Get:    func(c *call, id string) (cloud.Atom, error) { return c.service.Fleet.Atom(c.ctx, c.who, id) },
	List:   func(c *call) ([]cloud.Atom, error) { return c.service.Fleet.Atoms(c.ctx, c.who) },
	Update: updateAtom,
	Delete: func(c *call, id string) error { return c.service.Fleet.RevokeAtom(c.ctx, c.who, id) },
}

func updateAtom(c *call, id string, in *codec.Node) (cloud.Atom, error) {
	a, err := c.service.Fleet.Atom(c.ctx, c.who, id)
	if err != nil {
		return a, err
	}
	days, err := in.Int("purgeHistoryDays", a.Purge)
	if err != nil {
		return a, refuse(400, "%v", err)
	}
	if name := in.String("name"); name != "" && name != a.Name {
		if a, err = c.service.Fleet.RenameAtom(c.ctx, c.who, id, name); err != nil {
			return a, err
		}
	}
	if days != a.Purge {
		return c.service.Fleet.SetPurge(c.ctx, c.who, a.ID, days)
	}
	return a, nil
}

var attachmentObject = &object[cloud.Attachment]{
	Name: "EnvironmentAtomAttachment", ID: "id", Doc: "The assignment of an atom to an environment. An atom belongs to at most one.",
	Properties: []property[cloud.Attachment]{
		{Name: "id", Attr: true, Filter: true, Doc: "The id.", Of: func(_ *call, a cloud.Attachment) any { return a.ID }},
		{Name: "atomId", Attr: true, Filter: true, Write: onCreate, Required: true, Doc: "The atom.", Of: func(_ *call, a cloud.Attachment) any { return a.AtomID }},
		{Name: "environmentId", Attr: true, Filter: true, Write: onCreate, Required: true, Doc: "The environment.", Of: func(_ *call, a cloud.Attachment) any { return a.EnvironmentID }},
	},
	Rules: map[verb]cloud.Action{verbGet: "attachment.read", verbBulk: "attachment.read", verbQuery: "attachment.read", verbCreate: "attachment.create", verbDelete: "attachment.delete"},
	Key:   func(a cloud.Attachment) string { return a.ID },
	Get: func(c *call, id string) (cloud.Attachment, error) {
		return c.service.Fleet.Attachment(c.ctx, c.who, id)
	},
	List: func(c *call) ([]cloud.Attachment, error) { return c.service.Fleet.Attachments(c.ctx, c.who) },
	Create: func(c *call, in *codec.Node) (cloud.Attachment, error) {
		return c.service.Fleet.AttachAtom(c.ctx, c.who, in.String("atomId"), in.String("environmentId"))
	},
	Delete: func(c *call, id string) error { return c.service.Fleet.DetachAtom(c.ctx, c.who, id) },
}

// The life of an install token where the request names none.
const installMinutes = 60

var installerTokenObject = &object[cloud.InstallToken]{
	Name: "InstallerToken", ID: "token", Doc: "Lets one atom enroll once. The token is returned only on creation.",
	Properties: []property[cloud.InstallToken]{
		{Name: "installType", Attr: true, Write: onCreate, Enum: []string{"ATOM"}, Doc: "ATOM.", Of: func(*call, cloud.InstallToken) any { return "ATOM" }},
		{Name: "token", Attr: true, Doc: "The token, for `valence join`.", Of: func(_ *call, t cloud.InstallToken) any { return t.Token }},
		{Name: "expiration", Attr: true, Type: filter.Time, Doc: "The time of expiration.", Of: func(_ *call, t cloud.InstallToken) any { return codec.Millis(t.Expires) }},
		{Name: "created", Attr: true, Type: filter.Time, Doc: "The time of creation.", Of: func(_ *call, t cloud.InstallToken) any { return codec.Millis(t.Created) }},
		{Name: "accountId", Attr: true, Doc: "The account.", Of: func(_ *call, t cloud.InstallToken) any { return t.Account }},
		{Name: "durationMinutes", Attr: true, Type: filter.Number, Write: onCreate, Doc: "The lifetime in minutes; default 60.",
			Of: func(_ *call, t cloud.InstallToken) any { return int(t.Expires.Sub(t.Created) / time.Minute) }},
		{Name: "environmentId", Attr: true, Write: onCreate, Doc: "The environment that the atom is attached to on enrollment. Extension.", Of: func(_ *call, t cloud.InstallToken) any { return t.Environment }},
	},
	Rules: map[verb]cloud.Action{verbCreate: "installtoken.create"},
	Create: func(c *call, in *codec.Node) (cloud.InstallToken, error) {
		minutes, err := in.Int("durationMinutes", installMinutes)
		if err != nil {
			return cloud.InstallToken{}, refuse(400, "%v", err)
		}
		if minutes < 1 || minutes > int(cloud.MaxInstallTTL/time.Minute) {
			return cloud.InstallToken{}, refuse(400, "durationMinutes must be 1 to %d", int(cloud.MaxInstallTTL/time.Minute))
		}
		return c.service.Fleet.CreateInstallToken(c.ctx, c.who, in.String("environmentId"), time.Duration(minutes)*time.Minute)
	},
}
