"""A kind of contract that import-linter does not have: all that a package may import from outside, listed."""

import grimp
from importlinter import Contract, ContractCheck, fields, output
from importlinter.domain.imports import Module


class AllowListContract(Contract):
    """Hold a package to a list: it may import itself, and from outside nothing but `may_import`.

    Outside means the standard library, installed libraries and, where `package` is a part of the root package, the
    other parts of that. A library counts as a whole: `collections` covers `collections.abc`.
    """

    type_name = "allow_list"

    package = fields.ModuleField()
    may_import = fields.SetField(subfield=fields.StringField())

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        """Find every import out of the package that is not on the list, lazy and type-checking imports too."""
        package = self.package
        assert isinstance(package, Module)
        inside = {package.name, *graph.find_descendants(package.name)}
        broken = [
            {"importer": importer, "imported": imported, "lines": self._lines(graph, importer, imported)}
            for importer in sorted(inside)
            for imported in sorted(graph.find_modules_directly_imported_by(importer) - inside)
            if imported not in set(self.may_import)  # type: ignore[call-overload]
        ]
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print each import, in the form of import-linter's own contracts."""
        for found in check.metadata["broken"]:
            output.print_error(f"- {found['importer']} -> {found['imported']} (l.{found['lines']})", bold=False)
        output.new_line()

    @staticmethod
    def _lines(graph: grimp.ImportGraph, importer: str, imported: str) -> str:
        details = graph.get_import_details(importer=importer, imported=imported)
        return ", ".join(str(detail["line_number"]) for detail in details)
