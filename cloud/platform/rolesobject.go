package platform

import (
	"slices"

	"valence/cloud"
	"valence/cloud/platform/codec"
	"valence/internal/openapi"
)

// roleDocs describes the roles.
var roleDocs = map[cloud.Role]string{
	cloud.Viewer:   "Reads everything except the audit log and the content of packages.",
	cloud.Operator: "Also executes, cancels, resubmits, and pauses or resumes listeners and schedules.",
	cloud.Deployer: "Also uploads, deploys and downloads packages, and sets values.",
	cloud.Admin:    "Also manages environments, atoms, attachments and tokens, and reads the audit log.",
}

var roleObject = &object[cloud.Role]{
	Name: "Role", ID: "id", Doc: "One of the four built-in roles of API tokens. Each role includes the privileges of its parent.",
	Properties: []property[cloud.Role]{
		{Name: "id", Attr: true, Filter: true, Doc: "The id, equal on every control plane.", Of: func(_ *call, r cloud.Role) any { return cloud.RoleID(r) }},
		{Name: "name", Attr: true, Filter: true, Doc: "The name.", Of: func(_ *call, r cloud.Role) any { return string(r) }},
		{Name: "parentId", Attr: true, Filter: true, Doc: "The role whose privileges are included.", Of: func(_ *call, r cloud.Role) any {
			if i := slices.Index(cloud.Roles(), r); i > 0 {
				return cloud.RoleID(cloud.Roles()[i-1])
			}
			return ""
		}},
		{Name: "accountId", Attr: true, Filter: true, Doc: "The account.", Of: func(c *call, _ cloud.Role) any { return c.who.Account }},
		{Name: "Description", Doc: "The purpose of the role.", Of: func(_ *call, r cloud.Role) any { return roleDocs[r] }},
	},
	Rules: map[verb]cloud.Action{verbGet: "role.read", verbBulk: "role.read", verbQuery: "role.read"},
	Key:   func(r cloud.Role) string { return string(rune('0' + slices.Index(cloud.Roles(), r))) },
	Get: func(c *call, id string) (cloud.Role, error) {
		all, err := c.service.Accounts.Roles(c.ctx, c.who)
		for _, r := range all {
			if cloud.RoleID(r) == id || string(r) == id {
				return r, nil
			}
		}
		if err == nil {
			err = refuse(404, "no such role %q", id)
		}
		return "", err
	},
	List:  func(c *call) ([]cloud.Role, error) { return c.service.Accounts.Roles(c.ctx, c.who) },
	Extra: encodePrivileges,
	Also:  doc{"Privileges": openapi.Object(nil, doc{"Privilege": openapi.Array(texts("name"))})},
}

// encodePrivileges lists the privileges that a role adds to its parent, by their
// names in the audit log.
func encodePrivileges(_ *call, r cloud.Role) []codec.Field {
	var all []*codec.Object
	for _, a := range cloud.Actions() {
		if least, _ := cloud.MinimumRole(a); least == r {
			all = append(all, &codec.Object{Type: "Privilege", Fields: []codec.Field{{Name: "name", Value: string(a), Attr: true}}})
		}
	}
	return []codec.Field{{Name: "Privileges", Value: &codec.Object{Type: "Privileges", Fields: []codec.Field{{Name: "Privilege", Value: all}}}}}
}
