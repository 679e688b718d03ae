// The module of the generated stubs; scripts/clients.sh puts it beside them.
module shop.example/stubs

go 1.19
