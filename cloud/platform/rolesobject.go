package platform

import (
	"slices"

	"valence/cloud"
	"valence/cloud/platform/codec"
)

// What the roles are for.
var roleDocs = map[cloud.Role]string{
	cloud.Viewer:   "Sees everything but the audit log and the content of packages.",
	cloud.Operator: "Also executes, cancels, resubmits, and switches listeners and schedules.",
	cloud.Deployer: "Also packages, deploys, sets values and downloads packages.",
	cloud.Admin:    "Also has environments, atoms, attachments, tokens and the audit log.",
}

var roleObject = &object[cloud.Role]{
	Name: "Role", ID: "id", Doc: "One of the four roles that an API token may have. They are built in: none can be made, changed or deleted. Each may do what its parent may.",
	Properties: []property[cloud.Role]{
		{Name: "id", Attr: true, Filter: true, Doc: "Its id, the same on every control plane.", Of: func(_ *call, r cloud.Role) any { return cloud.RoleID(r) }},
		{Name: "name", Attr: true, Filter: true, Doc: "Its name.", Of: func(_ *call, r cloud.Role) any { return string(r) }},
		{Name: "parentId", Attr: true, Filter: true, Doc: "The role whose privileges it has, too.", Of: func(_ *call, r cloud.Role) any {
			if i := slices.Index(cloud.Roles(), r); i > 0 {
				return cloud.RoleID(cloud.Roles()[i-1])
			}
			return ""
		}},
		{Name: "accountId", Attr: true, Filter: true, Doc: "The account.", Of: func(c *call, _ cloud.Role) any { return c.who.Account }},
		{Name: "Description", Doc: "What it is for.", Of: func(_ *call, r cloud.Role) any { return roleDocs[r] }},
	},
	Rules: map[verb]cloud.Action{verbGet: "role.read", verbBulk: "role.read", verbQuery: "role.read"},
	Key:   func(r cloud.Role) string { return string(rune('0' + slices.Index(cloud.Roles(), r))) },
	Get: func(c *call, id string) (cloud.Role, error) {
		all, err := c.service.Roles(c.ctx, c.who)
		for _, r := range all {
			if cloud.RoleID(r) == id || string(r) == id {
				return r, nil
			}
		}
		if err == nil {
			err = refuse(404, "there is no role %q", id)
		}
		return "", err
	},
	List:  func(c *call) ([]cloud.Role, error) { return c.service.Roles(c.ctx, c.who) },
	Extra: encodePrivileges,
	Also:  doc{"Privileges": objectOf(nil, doc{"Privilege": array(texts("name"))})},
}

// encodePrivileges lists what a role adds to its parent, by the names that the
// audit log has for it.
func encodePrivileges(_ *call, r cloud.Role) []codec.Field {
	var all []*codec.Object
	for _, a := range cloud.Actions() {
		if least, _ := cloud.Least(a); least == r {
			all = append(all, &codec.Object{Type: "Privilege", Fields: []codec.Field{{Name: "name", Value: string(a), Attr: true}}})
		}
	}
	return []codec.Field{{Name: "Privileges", Value: &codec.Object{Type: "Privileges", Fields: []codec.Field{{Name: "Privilege", Value: all}}}}}
}
